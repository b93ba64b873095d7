// SPDX-License-Identifier: Apache-2.0
// Files that can be made again, kept in the user's cache folder. Nothing here is an error to the caller: where a folder
// or a file cannot be had, there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "trtpose/export.hpp"

namespace trtpose {

/// An open descriptor.
class TRTPOSE_API Descriptor {
public:
    explicit Descriptor(int number = -1) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor();
    int get() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

private:
    int number_;
};

/// Where the user's cache is: $TRTPOSE_CACHE, else $XDG_CACHE_HOME/trtpose, else ~/.cache/trtpose; empty where none of
/// them is known. The same as of trtpose._files.cache_folder in Python.
TRTPOSE_API std::string cache_folder();

/// A folder that nobody but the user can look into, with files that are written once, whole or not at all, and then
/// never changed.
class TRTPOSE_API KeptFiles {
public:
    /// Opens `name` in the user's cache folder, made if need be. None where it cannot be made, is a link, or belongs to
    /// somebody else.
    static std::optional<KeptFiles> open(const std::string& name);

    /// A file to read, and since when it is used now; none where there is no regular one of the user's own.
    Descriptor find(const std::string& name) const;

    /// Writes a file in the place of what has that name: `write` gets a descriptor and says whether all went well.
    /// Returns whether it is there.
    bool keep(const std::string& name, const std::function<bool(int)>& write) const;

    void remove(const std::string& name) const;

    /// Free on its disk; 0 where the system does not say.
    uint64_t free_bytes() const;

    /// Removes what was not used for a month, what writers left behind that are no more, and then the files that were
    /// not used for longest until all take `most` bytes.
    void trim(uint64_t most) const;

private:
    explicit KeptFiles(Descriptor folder) : folder_(std::move(folder)) {}

    Descriptor folder_;
};

}  // namespace trtpose
