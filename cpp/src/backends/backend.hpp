// SPDX-License-Identifier: Apache-2.0
// The table a backend module exports. A module is a shared library of its own, opened when first asked for, so that a
// missing vendor library is an answer and not a failed start.
#pragma once

#include "model/onnx_content.hpp"
#include "trtpose/session.hpp"

namespace trtpose {

struct BackendTable {
    const char* trtpose_version;  ///< of the build it belongs to; another one is refused
    /// Version and devices of the vendor library. Throws Error(device).
    BackendStatus (*status)();
    /// Of a module for engine files, else null.
    std::unique_ptr<Session> (*open_engine)(const ModelFile& file, const SessionOptions& options);
    /// Of a module for ONNX models, else null. It gets the model's bytes and opens no file.
    std::unique_ptr<Session> (*open_onnx)(const ModelFile& file, OnnxContent content, const SessionOptions& options);
    int oldest[3] = {0, 0, 0};  ///< version of the vendor library, below which the module cannot call it
};

/// Name of the function each module exports: const BackendTable* trtpose_backend().
inline constexpr const char* kBackendEntry = "trtpose_backend";
using BackendEntry = const BackendTable* (*)();

}  // namespace trtpose
