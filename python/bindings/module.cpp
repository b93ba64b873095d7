// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"
#include "gil.hpp"

namespace {

constexpr const char* kOneInterpreter =
    "trtpose: a subinterpreter cannot import it; import it in the main interpreter, and use threads or processes there";

bool in_main_interpreter() { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

}  // namespace

// The name is no one's: what Python looks for stands below.
PYBIND11_MODULE(_core_of_main, m) {
    if (!in_main_interpreter()) throw pybind11::import_error(kOneInterpreter);
    trtpose::python::watch_the_end();
    m.doc() = "The native part of trtpose; use it through the package.";
    trtpose::python::register_errors(m);
    trtpose::python::register_files(m);
    trtpose::python::register_nv12(m);
    trtpose::python::register_ops(m);
    trtpose::python::register_magnitudes(m);
    trtpose::python::register_device_arrays(m);
    trtpose::python::register_engine(m);
    trtpose::python::register_network_times(m);
    trtpose::python::register_vendor();
}

/// pybind11 would wait for the lock of the main interpreter, which this thread holds.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
    if (in_main_interpreter()) return PyInit__core_of_main();
    PyErr_SetString(PyExc_ImportError, kOneInterpreter);
    return nullptr;
}
