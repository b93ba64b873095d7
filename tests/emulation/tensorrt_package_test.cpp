// SPDX-License-Identifier: Apache-2.0
// The whole Python package on the double: what a program does that has installed trtpose and TensorRT's package alone.
#include <gtest/gtest.h>
#include <pybind11/embed.h>

#include "tensorrt/support.hpp"

namespace trtpose::test {
namespace {

namespace py = pybind11;

class TensorRtPackageTest : public TensorRtTest {
protected:
    /// Run Python that finds the engine file and its model spec as `path` and `spec`.
    void run(const char* code) {
        const std::string path = write();
        const std::string spec = folder_.write("people.json", people_spec().to_json());
        const py::gil_scoped_acquire gil;
        py::dict names;
        names["path"] = path;
        names["spec"] = spec;
        try {
            py::exec(code, names);
        } catch (const py::error_already_set& error) {
            ADD_FAILURE() << error.what();
        }
        names.clear();
        py::module_::import("gc").attr("collect")();
    }
};

TEST_F(TensorRtPackageTest, AnEngineRunsThroughThePackageThatIsInstalled) {
    run(R"(
import numpy
import trtpose

engine = trtpose.Engine(path, spec=spec)
assert engine.backend == "tensorrt", engine.backend
picture = numpy.full((64, 96, 3), 2, numpy.uint8)
first = engine.infer([picture])[0]
for _ in range(3):
    again = engine.infer([picture])[0]
    assert len(first) == len(again) == 2, (len(first), len(again))
    assert numpy.array_equal(first.keypoints, again.keypoints)
)");
    EXPECT_EQ(network_->enqueued, 2) << "warmed up, captured";
}

TEST_F(TensorRtPackageTest, ErrorsComeAsThePackagesOwn) {
    network_->fault = tensorrt_double::Fault::deserialize;
    run(R"(
import trtpose

try:
    trtpose.Engine(path, spec=spec)
except trtpose.ModelError as error:
    assert "refuses its plan" in str(error) and "asked to fail" in str(error), error
else:
    raise AssertionError("opened")
)");
}

TEST_F(TensorRtPackageTest, ThreadsThatNeedTheEngineAndPythonDoNotWaitForEachOther) {
    run(R"(
import threading

import numpy
import trtpose

engine = trtpose.Engine(path, spec=spec, batch=2, rect=True, imgsz=(256, 256))
failures = []


def each(work):
    def loop():
        try:
            for number in range(24):
                work(number)
        except BaseException as error:
            failures.append(error)

    return threading.Thread(target=loop)


def picture(number):
    return numpy.full((256, 48 + 16 * (number % 12), 3), 1, numpy.uint8)


def clone(number):
    other = engine.clone()
    other.infer([picture(number)])
    del other


threads = [each(lambda number: engine.infer([picture(number)] * 3)), each(clone), each(clone)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    assert engine.memory["total"] > 0
    assert engine.timings["total"] >= 0
assert not failures, failures
)");
    EXPECT_GT(network_->contexts_made, 12) << "contexts are made, in Python, all the while";
}

}  // namespace
}  // namespace trtpose::test
