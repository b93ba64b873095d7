// SPDX-License-Identifier: Apache-2.0
// Linked into programs whose every test needs a GPU: without one none is run, and all are counted as not run.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

namespace trtpose::test {
namespace {

class NeedsGpu final : public ::testing::Environment {
public:
    void SetUp() override {
        int devices = 0;
        const cudaError_t status = cudaGetDeviceCount(&devices);
        if (status == cudaSuccess && devices > 0) return;
        // A skip of the environment would leave the tests counted as passed.
        const int count = ::testing::UnitTest::GetInstance()->test_to_run_count();
        std::ostringstream out;
        out << "0 passed, 0 failed, " << count << " not run\n"
            << "not run: " << count
            << " (no GPU: " << (status == cudaSuccess ? "the driver shows none" : cudaGetErrorString(status)) << ")\n";
        std::cout << out.str() << std::flush;
        if (const char* path = std::getenv("TRTPOSE_TEST_COUNTS"); path && *path) std::ofstream(path) << out.str();
        std::exit(0);
    }
};

const auto* const kNeedsGpu = ::testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace trtpose::test
