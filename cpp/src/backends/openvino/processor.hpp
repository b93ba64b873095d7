// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openvino/openvino.hpp>

namespace trtpose::openvino {

/// Whether this processor adds up products of 8-bit numbers in 32 bits: on x86 by VNNI. Without it OpenVINO 2026.4.1
/// adds two of them in 16 bits, which are cut off where both are large.
bool adds_products_exactly();

/// Has quantised networks computed in floating point, with the file's own steps, where the answers would be wrong
/// otherwise. Others are compiled as ever.
void keep_products_exact(ov::AnyMap& config);

}  // namespace trtpose::openvino
