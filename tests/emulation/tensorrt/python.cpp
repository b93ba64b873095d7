// SPDX-License-Identifier: Apache-2.0
// Python for a program of tests: started before its tests and ended after them.
#include <gtest/gtest.h>
#include <pybind11/embed.h>

#include <memory>

#include "bindings.hpp"
#include "tensorrt/python_double.hpp"
#include "tensorrt/support.hpp"

namespace py = pybind11;

PYBIND11_EMBEDDED_MODULE(tensorrt_double, m) { trtpose::test::bind_double(m); }

namespace trtpose::test {
namespace {

#ifdef TRTPOSE_TEST_SITE
/// All of it, on the native part in this program.
void install_trtpose() {
    const py::object sys = py::module_::import("sys");
    sys.attr("path").attr("insert")(0, TRTPOSE_TEST_SITE);
    sys.attr("path").attr("insert")(0, TRTPOSE_TEST_PACKAGE "/..");
    static PyModuleDef definition{};
    auto core = py::module_::create_extension_module("trtpose._core", nullptr, &definition);
    sys.attr("modules")["trtpose._core"] = core;
    python::register_errors(core);
    python::register_files(core);
    python::register_nv12(core);
    python::register_ops(core);
    python::register_device_arrays(core);
    python::register_engine(core);
    python::register_network_times(core);
    python::register_vendor();
}
#else
/// The modules that the native part calls alone, from the sources.
void install_trtpose() {
    const py::object package = py::module_::import("types").attr("ModuleType")("trtpose");
    package.attr("__path__") = py::make_tuple(TRTPOSE_TEST_PACKAGE);
    py::module_::import("sys").attr("modules")["trtpose"] = package;
    python::register_vendor();
}
#endif

class PythonEnvironment final : public testing::Environment {
public:
    void SetUp() override {
        interpreter_ = std::make_unique<py::scoped_interpreter>(false);
        install_trtpose();
        install_package("tensorrt", library_version_text());
        install_package("tensorrt_rtx_bindings", "1.7.1.116");
        released_ = std::make_unique<py::gil_scoped_release>();
    }
    void TearDown() override {
        released_.reset();
        interpreter_.reset();
    }

private:
    std::unique_ptr<py::scoped_interpreter> interpreter_;
    std::unique_ptr<py::gil_scoped_release> released_;
};

const testing::Environment* const environment = testing::AddGlobalTestEnvironment(new PythonEnvironment);

}  // namespace

std::unique_ptr<Session> open_double(const ModelFile& file, const SessionOptions& options) {
    return open_session(file, options);
}

void install_package(const std::string& package, const std::string& version) {
    const py::gil_scoped_acquire gil;
    const py::object modules = py::module_::import("sys").attr("modules");
    if (version.empty()) {
        modules[package.c_str()] = py::none();
        return;
    }
    const py::object made = py::module_::import("types").attr("ModuleType")(package);
    made.attr("__dict__").attr("update")(py::module_::import("tensorrt_double").attr("__dict__"));
    made.attr("__name__") = package;
    made.attr("__file__") = "/site-packages/" + package + "/__init__.py";
    made.attr("__version__") = version;
    modules[package.c_str()] = made;
}

}  // namespace trtpose::test
