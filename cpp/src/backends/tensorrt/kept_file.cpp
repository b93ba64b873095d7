// SPDX-License-Identifier: Apache-2.0
#include "backends/tensorrt/kept_file.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "model/crc32.hpp"

namespace trtpose::tensorrt {
namespace {

constexpr size_t kSum = 4;  ///< bytes of checksum in front

std::filesystem::path cache_folder() {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::filesystem::path(value ? value : "");
    };
    if (const auto own = variable("TRTPOSE_CACHE"); !own.empty()) return own;
    if (const auto base = variable("XDG_CACHE_HOME"); base.is_absolute()) return base / "trtpose";
    const auto home = variable("HOME");
    return home.is_absolute() ? home / ".cache" / "trtpose" : std::filesystem::path();
}

std::string sum_of(const std::string& content) {
    const uint32_t sum = crc32(content);
    std::string out(kSum, '\0');
    std::memcpy(out.data(), &sum, kSum);
    return out;
}

}  // namespace

KeptFile::KeptFile(const std::string& name) {
    const auto folder = cache_folder();
    if (!folder.empty()) path_ = (folder / name).string();
}

std::string KeptFile::read() const {
    std::ifstream in(path_, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    if (bytes.size() <= kSum) return {};
    std::string content = bytes.substr(kSum);
    return bytes.substr(0, kSum) == sum_of(content) ? content : std::string();
}

void KeptFile::write(const std::string& content) const {
    if (path_.empty() || content.empty()) return;
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
    std::string temporary = path_ + ".XXXXXX";
    const int file = ::mkstemp(temporary.data());
    if (file < 0) return;
    ::close(file);
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << sum_of(content) << content;
    out.close();
    if (out.good()) std::filesystem::rename(temporary, path_, ignored);
    if (!out.good() || ignored) std::filesystem::remove(temporary, ignored);
}

}  // namespace trtpose::tensorrt
