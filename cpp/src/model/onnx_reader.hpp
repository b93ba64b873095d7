// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/byte_source.hpp"
#include "model/external_data.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {

/// Something to write in place of a range of an ONNX file: some bytes, and behind them those of a file beside it.
struct OnnxEdit {
    uint64_t begin, end;
    std::string bytes;
    ExternalRange external;
};

/// Reads what an ONNX file says of itself into `out`, whose path is what errors call it, and checks on the way that
/// every length stays inside the file, that every weight has the bytes its shape calls for, wherever they are, and that
/// the file is of a version the libraries were made for: a truncated, damaged or odd file is told apart here, before
/// one of them sees it. Returns what to write otherwise so that the file holds all of its weights itself, in the file's
/// order. Throws Error(model).
std::vector<OnnxEdit> read_onnx_file(ByteSource& source, ExternalFiles& files, ModelFile& out);

}  // namespace trtpose
