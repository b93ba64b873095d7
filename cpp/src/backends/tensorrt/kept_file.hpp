// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace trtpose::tensorrt {

/// A file in the user's cache folder: TRTPOSE_CACHE, else trtpose in XDG_CACHE_HOME or ~/.cache. Its content carries a
/// checksum and is replaced as a whole; what goes wrong with it is as if it were not there.
class KeptFile {
public:
    KeptFile() = default;
    explicit KeptFile(const std::string& name);
    /// Empty if there is none or it is damaged.
    std::string read() const;
    void write(const std::string& content) const;

private:
    std::string path_;  ///< empty: nowhere to keep it
};

}  // namespace trtpose::tensorrt
