// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "trtpose/model_spec.hpp"

namespace trtpose {

/// An ONNX file as a library may see it. The constructor checks it (onnx_reader.hpp); of what comes out afterwards,
/// every byte that the check looked at is the one it saw, and the others, which are numbers of weights, come from the
/// file as they are asked for. Weights that the file keeps in others stand in it. So nothing is held twice, no library
/// opens a path, and a file that is written meanwhile gives an error.
class TRTPOSE_API OnnxContent {
public:
    /// `stamp`: of the ModelFile that this must be the file of, if any. Throws Error(model).
    explicit OnnxContent(const std::string& path, const std::string& stamp = {});
    OnnxContent(OnnxContent&&) noexcept;
    ~OnnxContent();

    uint64_t size() const;
    /// Copy a part. Throws Error(model) where the file has become shorter.
    void read(uint64_t offset, char* to, uint64_t count);
    /// Throws Error(model) where a file was written since it was opened.
    void require_unchanged() const;
    ModelFile take_facts();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace trtpose
