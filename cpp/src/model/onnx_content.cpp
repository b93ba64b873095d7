// SPDX-License-Identifier: Apache-2.0
#include "model/onnx_content.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/check.hpp"
#include "model/engine_file.hpp"
#include "model/onnx_limits.hpp"
#include "model/onnx_reader.hpp"

namespace trtpose {
namespace {

constexpr uint64_t kStart = 32;  ///< bytes that tell the kinds of files apart

struct OtherKind {
    size_t at;
    std::string_view magic;
    const char* what;
};

/// What people give in place of an ONNX model, by its first bytes.
constexpr OtherKind kOthers[] = {
    {4, "TFL3", "this is TensorFlow Lite; convert it to ONNX first, for example with tf2onnx"},
    {0, "\x89HDF", "this is HDF5, as Keras writes models; convert it to ONNX first, for example with tf2onnx"},
    {0, "\x1f\x8b", "it is packed by gzip; unpack it, and give the ONNX model or the engine file in it"},
    {0, "version https://git-lfs",
     "this is the note that Git LFS leaves for a file; fetch the file itself: git lfs pull"},
    {0, "<!DOCTYPE", "this is a web page; download the file itself"},
    {0, "<html", "this is a web page; download the file itself"},
};

/// The name of a zip archive's first entry, as far as it is text.
std::string first_entry(ByteSource& source) {
    constexpr uint64_t kHeader = 30, kLengthAt = 26, kMostShown = 80;
    if (source.size() < kHeader) return {};
    const std::string length = source.text(kLengthAt, 2);
    const uint64_t size = static_cast<unsigned char>(length[0]) + 256u * static_cast<unsigned char>(length[1]);
    if (size > kMostShown || kHeader + size > source.size()) return {};
    std::string name = source.text(kHeader, size);
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~'; });
    return plain ? name : std::string();
}

/// A checkpoint is an archive that begins with the pickle.
void refuse_archive(ByteSource& source, const std::string& name) {
    constexpr std::string_view kPickle = "data.pkl";
    const std::string entry = first_entry(source);
    const bool checkpoint =
        entry.size() >= kPickle.size() && entry.compare(entry.size() - kPickle.size(), kPickle.size(), kPickle) == 0;
    require(!checkpoint, ErrorCode::model, name,
            ": this is a PyTorch checkpoint; turn it into ONNX first: trtpose export ", name);
    throw Error(ErrorCode::model,
                text(name, ": this is an archive (zip)", entry.empty() ? "" : ", its first entry '" + entry + "'",
                     "; unpack it, and give the ONNX model or the engine file in it. If it is a PyTorch checkpoint: "
                     "trtpose export ",
                     name));
}

void require_onnx(ByteSource& source, const std::string& name) {
    const std::string start = source.text(0, std::min(source.size(), kStart));
    const auto begins = [&](const char* magic) {
        return start.substr(0, 4) == magic || start.substr(0, 8).find(magic) != start.npos;
    };
    require(!is_engine_file(start), ErrorCode::model, name,
            ": is an engine file; give the ONNX model it was built from");
    if (start.substr(0, 2) == "PK") refuse_archive(source, name);
    require(start.substr(0, 1) != "\x80", ErrorCode::model, name,
            ": this is a PyTorch checkpoint; turn it into ONNX first: trtpose export ", name);
    require(!begins("<?xml"), ErrorCode::model, name, ": this is an XML file; give an ONNX model or an engine file");
    for (const OtherKind& other : kOthers)
        require(start.compare(std::min(other.at, start.size()), other.magic.size(), other.magic) != 0, ErrorCode::model,
                name, ": ", other.what);
}

void require_size(uint64_t size, const std::string& name) {
    require(size <= kMaxOnnxBytes, ErrorCode::model, name, ": has ", size, " bytes; ONNX files end at ", kMaxOnnxBytes,
            ", larger models keep their weights in files beside them");
}

/// A run of bytes of the whole: of the file at `from`, of an edit, or of a file beside it.
struct Piece {
    uint64_t at, size;
    uint64_t from = 0;
    const OnnxEdit* edit = nullptr;
    bool external = false;
};

}  // namespace

struct OnnxContent::Impl {
    explicit Impl(const std::string& path) : file(path), source(file), files(path, true) { facts.path = path; }

    RegularFile file;
    ByteSource source;
    ExternalFiles files;
    ModelFile facts;
    std::vector<OnnxEdit> edits;
    std::vector<Piece> pieces;
    uint64_t size = 0;

    void add(Piece piece) {
        piece.at = size;
        size += piece.size;
        if (piece.size > 0) pieces.push_back(piece);
    }
    void divide() {
        uint64_t done = 0;
        for (const OnnxEdit& edit : edits) {
            add({0, edit.begin - done, done});
            add({0, edit.bytes.size(), 0, &edit});
            add({0, edit.external.bytes, 0, &edit, true});
            done = edit.end;
        }
        add({0, source.size() - done, done});
    }
    void copy(const Piece& piece, uint64_t skip, char* to, uint64_t count) {
        if (!piece.edit) {
            source.copy(piece.from + skip, to, count);
        } else if (!piece.external) {
            std::copy_n(piece.edit->bytes.data() + skip, count, to);
        } else {
            files.read({piece.edit->external.location, piece.edit->external.offset + skip, count}, to);
        }
    }
};

OnnxContent::OnnxContent(const std::string& path, const std::string& stamp) : impl_(std::make_unique<Impl>(path)) {
    Impl& impl = *impl_;
    if (!stamp.empty() && stamp != impl.file.stamp()) impl.file.changed();
    require_onnx(impl.source, path);
    require_size(impl.source.size(), path);
    impl.facts.kind = "onnx";
    impl.facts.stamp = impl.file.stamp();
    impl.edits = read_onnx_file(impl.source, impl.files, impl.facts);
    require_unchanged();
    impl.divide();
}

OnnxContent::OnnxContent(OnnxContent&&) noexcept = default;
OnnxContent::~OnnxContent() = default;

uint64_t OnnxContent::size() const { return impl_->size; }

void OnnxContent::read(uint64_t offset, char* to, uint64_t count) {
    const auto& pieces = impl_->pieces;
    auto piece =
        std::upper_bound(pieces.begin(), pieces.end(), offset, [](uint64_t at, const Piece& p) { return at < p.at; });
    for (--piece; count > 0; ++piece) {
        const uint64_t skip = offset - piece->at, part = std::min(count, piece->size - skip);
        impl_->copy(*piece, skip, to, part);
        to += part;
        offset += part;
        count -= part;
    }
}

void OnnxContent::require_unchanged() const {
    impl_->file.require_unchanged();
    impl_->files.require_unchanged();
}

ModelFile OnnxContent::take_facts() { return std::move(impl_->facts); }

void read_onnx(const std::string& path, const OnnxMemory& memory) {
    OnnxContent content(path);
    char* const to = memory(content.size());
    content.read(0, to, content.size());
    content.require_unchanged();
}

void check_onnx(const void* data, size_t size, const std::string& name) {
    require(size > 0, ErrorCode::model, name, ": the model is empty");
    require_size(size, name);
    ModelFile facts;
    facts.path = name;
    ExternalFiles files(name, false);
    ByteSource source(std::string_view(static_cast<const char*>(data), size));
    read_onnx_file(source, files, facts);
}

}  // namespace trtpose
