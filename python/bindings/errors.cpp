// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"

namespace trtpose::python {

void register_errors(py::module_&) {
    // The types live in Python, so that the parts of the package that need no native code can raise them too.
    py::register_exception_translator([](std::exception_ptr pending) {
        try {
            if (pending) std::rethrow_exception(pending);
        } catch (const Error& error) {
            static constexpr const char* kTypes[] = {"ModelError", "InputError", "DeviceError", "BudgetError"};
            const py::object type = py::module_::import("trtpose.errors").attr(kTypes[static_cast<int>(error.code())]);
            // Paths and names from files need not be UTF-8.
            const auto message = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
                error.what(), static_cast<py::ssize_t>(std::char_traits<char>::length(error.what())), "replace"));
            PyErr_SetObject(type.ptr(), message.ptr());
        }
    });
}

}  // namespace trtpose::python
