// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "core/check.hpp"

namespace trtpose {

/// The bytes of a model file, without a copy of them.
class MappedFile {
public:
    explicit MappedFile(const std::string& path) {
        // O_NONBLOCK: a pipe is refused below, not waited for.
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        require(file >= 0, ErrorCode::model, path, ": cannot open the model (", std::strerror(errno),
                "); check the path");
        struct stat status{};
        const bool ok = ::fstat(file, &status) == 0;
        const bool regular = ok && S_ISREG(status.st_mode);
        if (regular && status.st_size > 0) {
            size_ = static_cast<size_t>(status.st_size);
            data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        }
        ::close(file);
        require(regular, ErrorCode::model, path, ": is not a regular file; give an ONNX model or an engine file");
        require(size_ > 0, ErrorCode::model, path, ": the file is empty; download or export it again");
        require(data_ != MAP_FAILED, ErrorCode::model, path, ": cannot read the model (", std::strerror(errno), ")");
    }
    ~MappedFile() {
        if (data_ && data_ != MAP_FAILED) ::munmap(data_, size_);
    }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace trtpose
