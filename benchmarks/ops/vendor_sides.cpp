// SPDX-License-Identifier: Apache-2.0
// What TensorRT's two sides cost the session above them before a run is captured: through a module and through Python,
// by turns, on the double, whose own work both have. Prints one JSON object (benchmarks/vendor_sides.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "tensorrt/python_double.hpp"
#include "tensorrt_session_test.hpp"

namespace trtpose::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRuns = 3000, kRunsAtOnce = 10, kShapes = 160;

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// One side: a session, and what its calls took.
struct Side {
    const char* name;
    std::unique_ptr<Session> session;
    std::unique_ptr<Runner> runner;
    std::vector<double> runs, shapes;
    int python_calls = 0;

    void run() {
        const int before = python_calls_now();
        const auto start = Clock::now();
        for (int i = 0; i < kRunsAtOnce; ++i) runner->run();
        runs.push_back(microseconds(Clock::now() - start) / kRunsAtOnce);
        python_calls += python_calls_now() - before;
        // The double's work waits in the stream.
        EXPECT_EQ((cudaStreamSynchronize)(runner->stream()), cudaSuccess);
    }
    void take(int batch, Size size) {
        const auto start = Clock::now();
        const SessionShape& shape = session->prepare(batch, size);
        session->use_scratch(runner->scratch().data(), shape.scratch_bytes);
        shapes.push_back(microseconds(Clock::now() - start));
    }
    static int python_calls_now() { return test::python_calls(); }
};

class VendorSides : public TensorRtTest {
protected:
    Side open_side(const char* name) {
        const Environment variable("TRTPOSE_TENSORRT_SESSION", name);
        Side side{name, open(), nullptr, {}, {}, 0};
        side.runner = std::make_unique<Runner>(*side.session);
        side.runner->prepare(1, {64, 96});
        side.runner->run();
        return side;
    }
    Environment modules_{"TRTPOSE_BACKEND_DIR", TRTPOSE_TEST_MODULES};
};

TEST_F(VendorSides, Times) {
    Side sides[] = {open_side("native"), open_side("python")};
    for (int i = 0; i < kRuns; ++i) {
        for (Side& side : sides) side.run();
    }
    for (int i = 0; i < kShapes; ++i) {
        for (Side& side : sides) side.take(1 + i % 5, {32 * (1 + i / 5 % 8), 32 * (1 + i / 40 % 4)});
    }
    EXPECT_EQ(sides[0].python_calls, 0);
    EXPECT_EQ(sides[1].python_calls, kRuns * kRunsAtOnce) << "one call for a run";
    std::printf("{\"runs\": %d, \"shapes\": %d", kRuns * kRunsAtOnce, kShapes);
    for (const Side& side : sides)
        std::printf(", \"%s\": {\"run_us\": %.3f, \"new_shape_us\": %.2f}", side.name, median(side.runs),
                    median(side.shapes));
    std::printf("}\n");
}

}  // namespace
}  // namespace trtpose::test
