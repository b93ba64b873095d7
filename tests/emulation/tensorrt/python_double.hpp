// SPDX-License-Identifier: Apache-2.0
// Python inside the program of tests, with the double installed as TensorRT's packages.
#pragma once

#include <string>

namespace trtpose::test {

/// Calls that Python made of the double, and the double of Python.
int python_calls();

/// Install the double as `package` of a version, in place of what was there; an empty version takes it away.
void install_package(const std::string& package, const std::string& version);

}  // namespace trtpose::test
