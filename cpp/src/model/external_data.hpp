// SPDX-License-Identifier: Apache-2.0
// Weights that an ONNX file keeps in files beside it. trtpose reads them itself, so that no library opens a path that a
// stranger wrote into a file.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "model/regular_file.hpp"

namespace trtpose {

/// What a tensor says of where its numbers are: the entries of TensorProto.external_data, as written.
struct ExternalEntries {
    std::optional<std::string> location, offset, length;
    std::string odd;  ///< an entry of another key, or one that is there twice
    bool any() const { return location || offset || length || !odd.empty(); }
    void add(const std::string& key, std::string value);
};

/// A range of a file beside the model.
struct ExternalRange {
    std::string location;
    uint64_t offset = 0, bytes = 0;
};

/// Opens files beside a model, one at a time.
class ExternalFiles {
public:
    /// `model`: path of the ONNX file, or the name of a model that lies in none and so has none beside it.
    ExternalFiles(const std::string& model, bool in_file);

    /// The range that a tensor of `bytes` bytes takes its numbers from, which exists. Throws Error(model), naming the
    /// tensor, unless it is a plain relative path to a regular file below the model's folder and long enough.
    ExternalRange find(const ExternalEntries& entries, uint64_t bytes, const std::string& tensor);
    void read(const ExternalRange& range, char* to);
    /// Throws Error(model) where a file that was read from was written since.
    void require_unchanged() const;

private:
    const RegularFile& open(const std::string& location);

    std::string model_, folder_;
    bool in_file_;
    std::string opened_;  ///< location of the file that is open
    std::unique_ptr<RegularFile> file_;
};

}  // namespace trtpose
