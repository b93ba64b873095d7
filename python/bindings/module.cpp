// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native part of trtpose; use it through the package.";
    trtpose::python::register_errors(m);
    trtpose::python::register_files(m);
    trtpose::python::register_nv12(m);
    trtpose::python::register_ops(m);
    trtpose::python::register_device_arrays(m);
    trtpose::python::register_engine(m);
    trtpose::python::register_network_times(m);
    trtpose::python::register_vendor();
}
