// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/model_spec.hpp"

namespace trtpose {

/// Pictures per run at most, where a file's metadata says that its graph has an NMS of its own; 0: it does not say so.
/// Ultralytics' exporter with nms=True writes an NMS for each picture of the batch it was called with: whatever a
/// larger batch holds behind these comes out empty, though the input's shape allows it.
TRTPOSE_API int frames_of_own_nms(const ModelFile& file);

}  // namespace trtpose
