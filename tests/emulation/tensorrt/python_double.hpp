// SPDX-License-Identifier: Apache-2.0
// The double in Python: inside the program of tests, installed as TensorRT's packages, or as a module of its own.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace trtpose::test {

/// Give a module what TensorRT's package has.
void bind_double(pybind11::module_& m);

/// Calls that Python made of the double, and the double of Python.
int python_calls();

/// Install the double as `package` of a version, in place of what was there; an empty version takes it away.
void install_package(const std::string& package, const std::string& version);

}  // namespace trtpose::test
