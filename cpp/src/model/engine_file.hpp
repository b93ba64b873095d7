// SPDX-License-Identifier: Apache-2.0
// Engine files: a TensorRT plan, mostly with a header of metadata in front.
#pragma once

#include <string_view>

#include "model/byte_source.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {

/// Whether `bytes`, the content of a file, begin as an engine file does.
bool is_engine_file(std::string_view bytes);

/// Fill `out` from an engine file's header and the first bytes of its plan. Checks every length, that the parts of the
/// header fit together, and the plan's CRC-32. Throws Error(model).
void read_engine_file(ByteSource& bytes, ModelFile& out);

}  // namespace trtpose
