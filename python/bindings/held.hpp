// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

namespace trtpose::python {

namespace py = pybind11;

/// An object of Python that may be let go from any thread.
class Held {
public:
    explicit Held(py::object object) : object_(std::move(object)) {}
    ~Held() {
        if (!Py_IsInitialized()) {  // Python has ended, and with it what it held
            object_.release();
            return;
        }
        const py::gil_scoped_acquire gil;
        object_ = py::object();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    py::object call(const char* name) const { return object_.attr(name)(); }
    template <typename... Args>
    py::object call(const char* name, Args&&... args) const {
        return object_.attr(name)(std::forward<Args>(args)...);
    }
    template <typename... Args>
    py::object operator()(Args&&... args) const {
        return object_(std::forward<Args>(args)...);
    }

private:
    py::object object_;
};

}  // namespace trtpose::python
