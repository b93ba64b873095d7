// SPDX-License-Identifier: Apache-2.0
// What is true of TensorRT through Python alone: which package it takes, what it says where there is none, and that
// Python is not on the way of a frame.
#include <gtest/gtest.h>
#include <pybind11/embed.h>

#include <thread>

#include "support/reference.hpp"
#include "tensorrt/python_double.hpp"
#include "tensorrt_session_test.hpp"
#include "trtpose/engine.hpp"

namespace trtpose::test {
namespace {

namespace py = pybind11;

class TensorRtPythonTest : public TensorRtSessionTest {
protected:
    void TearDown() override {
        install_package("tensorrt", library_version_text());
        install_package("tensorrt_rtx_bindings", "1.7.1.116");
        TensorRtSessionTest::TearDown();
    }
};

TEST_F(TensorRtPythonTest, WithoutThePackageTheErrorSaysHowToGetIt) {
    install_package("tensorrt", "");
    const std::string version = library_version_text();
    const std::string exact = NV_TENSORRT_MAJOR == 8 ? version : version + ".0";
    expect_refused(ErrorCode::device, "it needs TensorRT " + version +
                                          ".0, and no Python package tensorrt was found; "
                                          "pip install tensorrt==" +
                                          exact);
    expect_refused(ErrorCode::device, "or build trtpose with TRTPOSE_TENSORRT_INCLUDE_DIR");
}

TEST_F(TensorRtPythonTest, APackageThatCannotBeLoadedIsNamedWithItsReason) {
    {
        const py::gil_scoped_acquire gil;
        py::module_::import("sys").attr("modules")["tensorrt"] =
            py::module_::import("types").attr("ModuleType")("empty");
    }
    expect_refused(ErrorCode::device, "no Python package tensorrt was found (AttributeError: ");
}

TEST_F(TensorRtPythonTest, AnotherVersionIsRefusedBeforeItSeesThePlan) {
    install_package("tensorrt", "9.9.9.9");
    expect_refused(ErrorCode::device, "found is 9.9.9 (/site-packages/tensorrt/__init__.py)");
    EXPECT_EQ(network_->engines, 0);
}

TEST_F(TensorRtPythonTest, PlansForRtxWantItsOwnPackages) {
    header_.runtime = "rtx";
    header_.version = "1.2.0.1";
    expect_refused(ErrorCode::device,
                   "pip install tensorrt_rtx_cu13_libs==1.2.0.1 tensorrt_rtx_cu13_bindings==1.2.0.1");
    install_package("tensorrt_rtx_bindings", "");
    expect_refused(ErrorCode::device, "no Python package tensorrt_rtx_bindings was found");
}

TEST_F(TensorRtPythonTest, TheVariableForcesOneOrTheOther) {
    const std::string path = write();
    {
        const Environment native("TRTPOSE_TENSORRT_SESSION", "native");
        TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "libtrtpose_tensorrt");
    }
    {
        const Environment python("TRTPOSE_TENSORRT_SESSION", "python");
        EXPECT_NE(open(path), nullptr);
    }
    const Environment other("TRTPOSE_TENSORRT_SESSION", "rust");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::input, "use native or python");
}

TEST_F(TensorRtPythonTest, WhatPythonRaisesIsPartOfTheError) {
    const auto session = open();
    {
        const py::gil_scoped_acquire gil;
        py::exec(R"(
import trtpose.backends.tensorrt as module
kept = module.Context.set_input_shape
def broken(self, name, shape):
    raise RuntimeError("no such thing")
module.Context.set_input_shape = broken
)");
    }
    TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 96}), ErrorCode::model, "(RuntimeError: no such thing)");
    {
        const py::gil_scoped_acquire gil;
        py::exec("module.Context.set_input_shape = kept");
    }
    Runner runner(*session);
    runner.prepare(1, {64, 96});
    EXPECT_EQ(runner.people(2), 2);
}

TEST_F(TensorRtPythonTest, ARunIsOneCallOncePrepared) {
    const auto session = open();
    Runner runner(*session);
    runner.prepare(1, {64, 96});
    runner.run();
    const int before = python_calls();
    constexpr int kRuns = 5;
    for (int i = 0; i < kRuns; ++i) {
        runner.prepare(1, {64, 96});
        runner.run();
    }
    EXPECT_EQ(python_calls() - before, kRuns) << "execute_async_v3 and nothing else";
}

TEST_F(TensorRtPythonTest, ACapturedFrameNeedsNoPython) {
    EngineOptions options;
    options.threads = 1;
    options.batch = 2;
    const std::vector<Frame> pictures = [] {
        std::vector<Frame> out;
        for (int i = 0; i < 2; ++i) out.emplace_back(i + 1, 96, 64);
        return out;
    }();
    const std::vector<ImageView> frames = {pictures[0].view, pictures[1].view};
    Engine engine(open(), people_spec(), options);
    engine.infer(frames);
    const auto wanted = engine.infer(frames);
    const int before = python_calls();
    std::vector<Poses> got;
    {
        // Nobody else can run Python meanwhile: a frame that needed it would never come.
        const py::gil_scoped_acquire gil;
        std::thread other([&] {
            for (int call = 0; call < 4; ++call) got = engine.infer(frames);
        });
        other.join();
    }
    EXPECT_EQ(python_calls(), before);
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) expect_same(got[i], wanted[i]);
}

#ifdef TRTPOSE_TEST_MODULES
class TensorRtEitherWayTest : public TensorRtPythonTest {
protected:
    /// Whether an engine file is opened by the module.
    bool native(const std::string& path) {
        const int before = python_calls();
        EXPECT_NE(open(path), nullptr);
        return python_calls() == before;
    }
    Environment modules_{"TRTPOSE_BACKEND_DIR", TRTPOSE_TEST_MODULES};
};

TEST_F(TensorRtEitherWayTest, TheModuleComesFirst) {
    const std::string path = write();
    EXPECT_TRUE(native(path));
    install_package("tensorrt", "");
    EXPECT_TRUE(native(path));
}

TEST_F(TensorRtEitherWayTest, BothGiveTheSameBits) {
    EngineOptions options;
    options.threads = 1;
    const Frame picture(3, 96, 64);
    const std::vector<ImageView> frames = {picture.view};
    Engine one(open(), people_spec(), options);
    const Environment python("TRTPOSE_TENSORRT_SESSION", "python");
    Engine other(open(), people_spec(), options);
    EXPECT_EQ(one.memory().total(), other.memory().total());
    for (int call = 0; call < 3; ++call) expect_same(one.infer(frames)[0], other.infer(frames)[0]);
}

TEST_F(TensorRtEitherWayTest, WithoutALibraryForTheModulePythonIsAsked) {
    const std::string path = write();
    const TempFolder empty;
    const Environment nowhere("TRTPOSE_TENSORRT_LIB", empty / "");
    EXPECT_FALSE(native(path));
    install_package("tensorrt", "");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "no TensorRT was found; pip install tensorrt==");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "or set TENSORRT_ROOT");
}

TEST_F(TensorRtEitherWayTest, ALibraryThatIsTooOldForTheModuleGoesToPython) {
    const Environment older("TRTPOSE_TENSORRT_LIB", TRTPOSE_TEST_OLDER);
    header_.version = "10.0.1.0";
    install_package("tensorrt", "10.0.1");
    const std::string path = write();
    EXPECT_FALSE(native(path));
    const Environment forced("TRTPOSE_TENSORRT_SESSION", "native");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "older than this build of trtpose can use, which is 10.1.0");
}

TEST_F(TensorRtEitherWayTest, AModuleThatCannotBeLoadedIsSaidWhereNothingElseServes) {
    const std::string path = write();
    folder_.write("libtrtpose_tensorrt10.so", "no library");
    const Environment broken("TRTPOSE_BACKEND_DIR", folder_ / "");
    EXPECT_FALSE(native(path));
    install_package("tensorrt", "");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "cannot be loaded");
}
#endif

}  // namespace
}  // namespace trtpose::test
