// SPDX-License-Identifier: Apache-2.0
// Files that other programs may write while they are read. Nothing of them is ever mapped: a page of a mapped file that
// is cut short ends the process with SIGBUS, where a read that comes short is an error to report.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "core/check.hpp"

namespace trtpose {

/// What a file is opened as, for the sentences that refuse it.
struct FileRole {
    const char* noun;    ///< "model"
    const char* expect;  ///< "give an ONNX model or an engine file"
    const char* again;   ///< what to do with an empty or changed one: "download or export it again"
};

inline constexpr FileRole kModelRole{"model", "give an ONNX model or an engine file", "download or export it again"};

/// A regular file, open for reading. Pipes, devices and folders are refused at once, none is waited for.
class RegularFile {
public:
    explicit RegularFile(const std::string& path, const FileRole& role = kModelRole) : name_(path), role_(role) {
        struct stat status{};
        // Looked at before it is opened, as opening a device can do something.
        if (::stat(path.c_str(), &status) == 0) require_regular(status);
        adopt(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    }
    /// Take over a descriptor, -1 where opening failed (errno says why).
    RegularFile(int descriptor, std::string name, const FileRole& role) : name_(std::move(name)), role_(role) {
        adopt(descriptor);
    }
    ~RegularFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    RegularFile(const RegularFile&) = delete;
    RegularFile& operator=(const RegularFile&) = delete;

    const std::string& name() const { return name_; }
    uint64_t size() const { return size_; }
    /// Tells this file in this state from another one and from itself after it was written.
    const std::string& stamp() const { return stamp_; }

    /// Throws Error(model) where the file ends before.
    void read(uint64_t offset, char* to, uint64_t count) const {
        while (count > 0) {
            const ssize_t got = ::pread(descriptor_, to, count, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            require(got >= 0, ErrorCode::model, name_, ": cannot read the ", role_.noun, " (", std::strerror(errno),
                    ")");
            if (got == 0) changed();
            to += got;
            offset += static_cast<uint64_t>(got);
            count -= static_cast<uint64_t>(got);
        }
    }
    /// Throws Error(model) where the file was written since it was opened.
    void require_unchanged() const {
        struct stat status{};
        if (::fstat(descriptor_, &status) != 0 || stamp_of(status) != stamp_) changed();
    }
    [[noreturn]] void changed() const {
        throw Error(ErrorCode::model, text(name_,
                                           ": the file has changed while it was being read; wait until it is "
                                           "written, or ",
                                           role_.again));
    }

private:
    static std::string stamp_of(const struct stat& status) {
        return text(status.st_dev, ':', status.st_ino, ':', status.st_size, ':', status.st_mtim.tv_sec, ':',
                    status.st_mtim.tv_nsec);
    }
    void require_regular(const struct stat& status) const {
        if (S_ISREG(status.st_mode)) return;
        const bool folder = S_ISDIR(status.st_mode), stream = S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
        throw Error(ErrorCode::model, text(name_, ": cannot read the ", role_.noun, ", it is not a regular file but ",
                                           folder   ? "a folder"
                                           : stream ? "a pipe"
                                                    : "a device",
                                           "; ", stream ? "write its content into one, or " : "", role_.expect));
    }
    void adopt(int descriptor) {
        descriptor_ = descriptor;
        require(descriptor >= 0, ErrorCode::model, name_, ": cannot read the ", role_.noun, " (", std::strerror(errno),
                "); check the path");
        struct stat status{};
        const bool known = ::fstat(descriptor, &status) == 0;
        const bool regular = known && S_ISREG(status.st_mode);
        if (!regular || status.st_size == 0) {
            ::close(std::exchange(descriptor_, -1));
            require(known, ErrorCode::model, name_, ": cannot read the ", role_.noun);
            require_regular(status);
            throw Error(ErrorCode::model, text(name_, ": the file is empty; ", role_.again));
        }
        size_ = static_cast<uint64_t>(status.st_size);
        stamp_ = stamp_of(status);
    }

    std::string name_;
    FileRole role_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
    std::string stamp_;
};

/// A block of memory of its own, aligned to a page.
class PrivateBytes {
public:
    PrivateBytes() = default;
    explicit PrivateBytes(size_t size) : size_(size) {
        data_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data_ == MAP_FAILED) {
            data_ = nullptr;
            throw std::bad_alloc();
        }
#ifdef MADV_HUGEPAGE
        ::madvise(data_, size, MADV_HUGEPAGE);  // a page fault for each 4 KiB costs as much as the reading
#endif
    }
    PrivateBytes(PrivateBytes&& other) noexcept { *this = std::move(other); }
    PrivateBytes& operator=(PrivateBytes&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~PrivateBytes() {
        if (data_) ::munmap(data_, size_);
    }
    char* data() const { return static_cast<char*>(data_); }
    size_t size() const { return size_; }
    std::string_view bytes() const { return {data(), size_}; }

private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace trtpose
