// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace trtpose::openvino {

/// Which build of this module is running: the linker's digest of it, as it was loaded. Its file says less: another one
/// may have taken its place since, and packages may have one date for all of their files. Empty where the linker wrote
/// none.
std::string own_build();

}  // namespace trtpose::openvino
