// SPDX-License-Identifier: Apache-2.0
// What the targets share: a target feeds bytes to a reader, which may refuse them with an Error and do nothing else.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "families/family.hpp"
#include "trtpose/error.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::fuzz {

/// End the program, which the fuzzer reports with the input, unless `ok`.
inline void expect(bool ok, const char* what) {
    if (ok) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::abort();
}

/// Call `use`. An Error with a sentence is a fine answer; whatever else it throws ends the program.
template <typename F>
void may_refuse(F&& use) {
    try {
        use();
    } catch (const Error& error) {
        expect(error.what()[0] != '\0', "an error says something");
    }
}

/// A file in a folder of its own, which goes with the program.
class ScratchFile {
public:
    explicit ScratchFile(const std::string& name) {
        // In memory, where the system has it: twenty times as many inputs a second.
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        const std::filesystem::path base = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
        folder_ = (base / "trtpose-fuzz-XXXXXX").string();
        expect(::mkdtemp(folder_.data()) != nullptr, "a scratch folder can be made");
        path_ = folder_ + "/" + name;
    }
    /// One beside `other`, which must outlive it.
    ScratchFile(const ScratchFile& other, const std::string& name) : path_(other.folder_ + "/" + name) {}
    ~ScratchFile() {
        if (folder_.empty()) return;
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;

    /// Replace its content.
    const std::string& write(const uint8_t* data, size_t size) const {
        const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        expect(file >= 0 && ::write(file, data, size) == static_cast<ssize_t>(size), "the scratch file can be written");
        ::close(file);
        return path_;
    }

private:
    std::string folder_, path_;
};

inline std::string_view view_of(const uint8_t* data, size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// What is done with every spec that was accepted: written, read again, and a reader made ready for its outputs.
inline void use_spec(const ModelSpec& spec) {
    const std::string json = spec.to_json();
    expect(ModelSpec::from_json(json, "written").to_json() == json, "a spec that was written reads as the same");
    const auto reader = families::family_of(spec).default_reader(spec);
    families::OutputShapes outputs{reader->outputs(), DType::f32, 1, spec.imgsz};
    constexpr int64_t kListed = 100;
    for (size_t i = 0; i < outputs.shapes.size(); ++i) {
        auto& shape = outputs.shapes[i];
        const int64_t stride = i < spec.strides.size() ? spec.strides[i] : 1;
        const int64_t grid[] = {1, spec.imgsz.height / stride, spec.imgsz.width / stride}, list[] = {1, kListed};
        size_t next = 0;
        for (int64_t& size : shape) {
            if (size < 0) size = shape.size() > 3 ? grid[next++ % 3] : list[next++ % 2];
        }
    }
    may_refuse([&] { reader->plan(outputs, {}, {}); });
}

inline void use_model(const ModelFile& file) { use_spec(find_spec(file).spec); }

}  // namespace trtpose::fuzz
