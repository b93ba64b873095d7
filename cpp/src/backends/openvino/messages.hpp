// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>

namespace trtpose::openvino {

/// The telling line of an OpenVINO message; the others say where in its sources it came from, or what comes next.
std::string reason(const std::exception& error);

}  // namespace trtpose::openvino
