// SPDX-License-Identifier: Apache-2.0
// Linked into programs whose every test needs a GPU: without one none is run, and all are counted as not run.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "core/cuda_device.hpp"

namespace trtpose::test {
namespace {

class NeedsGpu final : public ::testing::Environment {
public:
    void SetUp() override {
        const CudaStatus status = cuda_status();
        if (!status.devices.empty()) return;
        // A skip of the environment would leave the tests counted as passed.
        const int count = ::testing::UnitTest::GetInstance()->test_to_run_count();
        std::ostringstream out;
        out << "0 passed, 0 failed, " << count << " not run\n"
            << "not run: " << count << " (no GPU: " << status.problem << ")\n";
        std::cout << out.str() << std::flush;
        if (const char* path = std::getenv("TRTPOSE_TEST_COUNTS"); path && *path) std::ofstream(path) << out.str();
        std::exit(0);
    }
};

const auto* const kNeedsGpu = ::testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace trtpose::test
