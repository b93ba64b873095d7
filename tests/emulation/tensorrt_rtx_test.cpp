// SPDX-License-Identifier: Apache-2.0
// TensorRT for RTX through its own headers, which have what TensorRT's lack: a cache of what it compiles on the card.
#include <gtest/gtest.h>

#include "core/cuda_resources.hpp"
#include "tensorrt/support.hpp"

namespace trtpose::test {
namespace {

class TensorRtRtxTest : public TensorRtTest {
protected:
    void SetUp() override {
        TensorRtTest::SetUp();
        header_.runtime = "rtx";
    }
    /// Open it as another process would, and make a shape ready.
    void use(const std::string& path) {
        const auto session = open(path);
        EXPECT_EQ(session->info().backend, "tensorrt-rtx");
        const SessionShape& shape = session->prepare(1, {64, 96});
        EXPECT_EQ(shape.scratch_bytes, network_->scratch({1, 3, 64, 96}));
        session->prepare(2, {64, 96});
        EXPECT_EQ(network_->contexts, 2);
    }
    std::vector<std::string> kept() const {
        std::vector<std::string> out;
        std::error_code none;
        for (const auto& entry : std::filesystem::directory_iterator(cache_ / "rtx", none)) out.push_back(entry.path());
        return out;
    }
    TempFolder cache_;
    Environment place_{"TRTPOSE_CACHE", cache_ / ""};
};

TEST_F(TensorRtRtxTest, WhatTheCardCompiledIsKeptForTheNextTime) {
    const std::string path = write();
    use(path);
    EXPECT_EQ(network_->kernels_compiled, 1);
    ASSERT_EQ(kept().size(), 1u);
    use(path);
    EXPECT_EQ(network_->kernels_compiled, 1);
    // Another plan has another file.
    use(write("other.engine"));
    EXPECT_EQ(network_->kernels_compiled, 2);
    EXPECT_EQ(kept().size(), 2u);
}

TEST_F(TensorRtRtxTest, ADamagedCacheIsMadeAnew) {
    const std::string path = write();
    use(path);
    ASSERT_EQ(kept().size(), 1u);
    const std::string file = kept()[0];
    for (const std::string& bytes : {std::string("x"), std::string("no cache at all"), std::string()}) {
        std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
        const int before = network_->kernels_compiled;
        use(path);
        EXPECT_EQ(network_->kernels_compiled, before + 1);
        use(path);
        EXPECT_EQ(network_->kernels_compiled, before + 1);
    }
}

TEST_F(TensorRtRtxTest, WithoutAPlaceForItEverythingWorks) {
    const Environment nowhere("TRTPOSE_CACHE", "/proc/no/such/place");
    const std::string path = write();
    use(path);
    use(path);
    EXPECT_EQ(network_->kernels_compiled, 2);
}

}  // namespace
}  // namespace trtpose::test
