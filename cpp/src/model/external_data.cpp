// SPDX-License-Identifier: Apache-2.0
#include "model/external_data.hpp"

#include <charconv>
#include <filesystem>

#include "core/check.hpp"

namespace trtpose {
namespace {

constexpr size_t kMaxLocation = 4096;
constexpr FileRole kWeightsRole{"weights", "copy or export the model again with all of its files",
                                "copy or export the model again with all of its files"};

std::string plain(const std::string& value) {
    std::string out;
    for (const char c : value) out += c >= 32 && c < 127 ? c : '?';
    return out;
}

std::string shown(const std::string& value) { return "'" + plain(value.substr(0, 80)) + "'"; }

uint64_t number(const std::string& value, const char* key, const std::string& where) {
    uint64_t out = 0;
    const auto end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, out);
    require(!value.empty() && error == std::errc() && stop == end, ErrorCode::model, where, "its ", key, " is ",
            shown(value), ", no number of bytes; export the model again");
    return out;
}

/// Why a location is not a plain relative path; empty where it is.
const char* unfit(const std::string& location) {
    if (location.empty()) return "is empty";
    if (location.size() > kMaxLocation) return "is longer than any path";
    if (location.find('\0') != location.npos) return "holds a zero byte";
    if (location.front() == '/') return "is an absolute path";
    for (const auto& part : std::filesystem::path(location)) {
        if (part == "..") return "leads out of the model's folder";
        if (part.empty() || part == ".") return "is not a plain path";
    }
    return "";
}

/// A file below a folder, no part of whose path is a link; -1 with errno.
int open_below(const std::string& folder, const std::string& location) {
    int at = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::filesystem::path path(location);
    for (auto part = path.begin(); at >= 0 && part != path.end(); ++part) {
        const bool last = std::next(part) == path.end();
        struct stat status{};
        // What is no regular file is refused by its looks: opening a device can do something.
        const bool odd = last && ::fstatat(at, part->c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                         !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode);
        const int kind = odd ? O_PATH : last ? O_NONBLOCK | O_NOCTTY : O_DIRECTORY;
        const int below = ::openat(at, part->c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | kind);
        const int why = errno;
        ::close(at);
        at = below;
        errno = why;
    }
    return at;
}

/// Whether what stands at a location is a link, or lies behind one.
bool through_a_link(const std::string& folder, const std::string& location) {
    std::filesystem::path path(folder);
    std::error_code ignored;
    for (const auto& part : std::filesystem::path(location)) {
        path /= part;
        if (std::filesystem::is_symlink(path, ignored)) return true;
    }
    return false;
}

/// The sentence for weights that are not there. A model that is reached through a link may have left them behind.
std::string missing(const std::string& model, const std::string& folder, const std::string& location) {
    namespace fs = std::filesystem;
    std::error_code failed;
    const std::string path = (fs::path(folder) / plain(location)).string();
    const std::string what = text(model, ": its weights in ", shown(location),
                                  ": cannot read the weights (No such file or directory: ", path, ")");
    const bool link = fs::is_symlink(model, failed);
    const fs::path own = link ? fs::canonical(model, failed) : fs::path();
    if (!link || failed) return text(what, "; ", kWeightsRole.again);
    const bool beside = fs::exists(own.parent_path() / location, failed);
    return text(what, "; the model is a link to ", own.string(),
                beside ? ", beside which they are: open that file" : "; copy the weights to the link");
}

}  // namespace

void ExternalEntries::add(const std::string& key, std::string value) {
    auto* place = key == "location" ? &location : key == "offset" ? &offset : key == "length" ? &length : nullptr;
    if (key == "checksum") return;  // of the whole file, and read by nobody
    if (!place) {
        odd = "has an entry " + shown(key) + " that trtpose does not know";
    } else if (*place) {
        odd = "has two entries " + shown(key);
    } else {
        *place = std::move(value);
    }
}

ExternalFiles::ExternalFiles(const std::string& model, bool in_file) : model_(model), in_file_(in_file) {
    folder_ = std::filesystem::path(model).parent_path().string();
    if (folder_.empty()) folder_ = ".";
}

const RegularFile& ExternalFiles::open(const std::string& location) {
    if (file_ && opened_ == location) return *file_;
    require_unchanged();
    const std::string name = text(model_, ": its weights in ", shown(location));
    require(!through_a_link(folder_, location), ErrorCode::model, name,
            " are reached through a link; put the file itself there");
    file_.reset();
    const int descriptor = open_below(folder_, location);
    if (descriptor < 0 && (errno == ENOENT || errno == ENOTDIR))
        throw Error(ErrorCode::model, missing(model_, folder_, location));
    file_ = std::make_unique<RegularFile>(descriptor, name, kWeightsRole);
    opened_ = location;
    return *file_;
}

ExternalRange ExternalFiles::find(const ExternalEntries& entries, uint64_t bytes, const std::string& tensor) {
    const std::string where = text(model_, ": weight '", tensor, "' is kept in another file, ");
    require(entries.odd.empty(), ErrorCode::model, where, "and ", entries.odd, "; export the model again");
    require(entries.location.has_value(), ErrorCode::model, where, "and nothing says which; export the model again");
    require(in_file_, ErrorCode::model, where, "which a model in memory cannot have");
    ExternalRange range{*entries.location, 0, bytes};
    const char* const why = unfit(range.location);
    require(!*why, ErrorCode::model, where, "and its path ", shown(range.location), " ", why,
            "; trtpose reads regular files below the model's folder alone: save the model again with its weights "
            "beside it");
    if (entries.offset) range.offset = number(*entries.offset, "offset", where);
    if (entries.length) {
        const uint64_t length = number(*entries.length, "length", where);
        require(length == bytes, ErrorCode::model, where, "its length is ", length, " bytes where its shape calls for ",
                bytes, "; export the model again");
    }
    if (bytes == 0) return range;
    const uint64_t size = open(range.location).size();
    require(range.offset <= size && bytes <= size - range.offset, ErrorCode::model, where, "which has ", size,
            " bytes, and should hold ", bytes, " from byte ", range.offset,
            " on; the file is incomplete, copy or export it again");
    return range;
}

void ExternalFiles::read(const ExternalRange& range, char* to) {
    if (range.bytes > 0) open(range.location).read(range.offset, to, range.bytes);
}

void ExternalFiles::require_unchanged() const {
    if (file_) file_->require_unchanged();
}

}  // namespace trtpose
