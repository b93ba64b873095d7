// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <openvino/openvino.hpp>
#include <vector>

namespace trtpose::openvino {

/// Copy output `i`, whose size OpenVINO does not know beforehand, but the file says (behind an NMS, filled up), or
/// whose number of rows nobody says: then `rows_are_open`, and the rows there are are followed by zeros. Throws
/// std::runtime_error where it is not as expected.
void copy_output(const ov::Tensor& found, size_t i, const std::vector<int64_t>& expected, bool rows_are_open, void* to);

}  // namespace trtpose::openvino
