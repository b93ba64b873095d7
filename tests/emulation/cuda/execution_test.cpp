// SPDX-License-Identifier: Apache-2.0
// The model itself: what CUDA promises it keeps, what CUDA forbids it finds.
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "core/cuda_compat.hpp"
#include "cuda/emulation.hpp"

namespace {

constexpr unsigned kAll = 0xFFFFFFFFu;

class Execution : public testing::Test {
protected:
    void SetUp() override {
        emulation::reset();
        emulation::set_schedule(0);
    }
    void TearDown() override {
        emulation::reset();
        emulation::set_schedule(0);
    }
    /// The fault of what was launched, if any.
    std::string finish() {
        static_cast<void>(cudaDeviceSynchronize());
        return emulation::fault();
    }
};

/// Sum of a block by a tree in shared memory, which needs each of its barriers.
void tree_sum(const int* in, int* out, bool with_barriers) {
    TRTPOSE_SHARED(int, part, 256);
    const auto t = threadIdx.x;
    part[t] = in[blockIdx.x * blockDim.x + t];
    __syncthreads();
    for (unsigned step = blockDim.x / 2; step > 0; step /= 2) {
        if (t < step) part[t] += part[t + step];
        if (with_barriers) __syncthreads();
    }
    __syncthreads();
    if (t == 0) out[blockIdx.x] = part[0];
}

TEST_F(Execution, BarriersOrderABlockUnderEverySchedule) {
    std::vector<int> in(4 * 256);
    std::iota(in.begin(), in.end(), 1);
    std::vector<int> out(4);
    for (uint64_t seed = 0; seed < 20; ++seed) {
        emulation::set_schedule(seed);
        TRTPOSE_LAUNCH(tree_sum, 4, 256, 0, nullptr, in.data(), out.data(), true);
        ASSERT_EQ(finish(), "");
        for (int b = 0; b < 4; ++b) ASSERT_EQ(out[static_cast<size_t>(b)], 256 * (256 * b) + 256 * 257 / 2);
    }
}

TEST_F(Execution, AMissingBarrierShows) {
    std::vector<int> in(256, 1), out(1);
    std::set<int> results;
    for (uint64_t seed = 1; seed < 20; ++seed) {
        emulation::set_schedule(seed);
        TRTPOSE_LAUNCH(tree_sum, 1, 256, 0, nullptr, in.data(), out.data(), false);
        ASSERT_EQ(finish(), "");
        results.insert(out[0]);
    }
    EXPECT_GT(results.size(), 1u);
}

void lone_barrier(int who) {
    if (static_cast<int>(threadIdx.x) != who) __syncthreads();
}
void two_barriers() {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

TEST_F(Execution, ABarrierIsMetByAll) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
        emulation::reset();
        emulation::set_schedule(seed);
        TRTPOSE_LAUNCH(lone_barrier, 1, 64, 0, nullptr, 7);
        EXPECT_NE(finish().find("which thread 7 of the block left out"), std::string::npos) << finish();
        EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure) << "a fault stays";
        emulation::reset();
        TRTPOSE_LAUNCH(two_barriers, 1, 64, 0, nullptr);
        EXPECT_NE(finish().find("while others wait at"), std::string::npos) << finish();
    }
}

void warp_results(unsigned* out) {
    const unsigned lane = threadIdx.x % 32;
    unsigned* mine = out + 16 * threadIdx.x;
    mine[0] = __ballot_sync(kAll, lane % 3 == 0);
    mine[1] = static_cast<unsigned>(__any_sync(kAll, lane == 5));
    mine[2] = static_cast<unsigned>(__all_sync(kAll, lane != 5));
    mine[3] = __shfl_sync(kAll, lane * 10, 3);
    mine[4] = __shfl_up_sync(kAll, lane, 4);
    mine[5] = __shfl_down_sync(kAll, lane, 4);
    mine[6] = __shfl_xor_sync(kAll, lane, 9);
    mine[7] = __reduce_add_sync(kAll, lane);
    mine[8] = __shfl_sync(kAll, lane, 1, 8);
    mine[9] = lane < 8 ? __ballot_sync(0xFF, 1) : __ballot_sync(0xFFFFFF00, lane > 20);
    __syncwarp();
    mine[10] = __reduce_max_sync(kAll, 100 - lane);
}

TEST_F(Execution, WarpsVoteAndShuffleAsDocumented) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
        emulation::set_schedule(seed);
        std::vector<unsigned> out(64 * 16);
        TRTPOSE_LAUNCH(warp_results, 1, 64, 0, nullptr, out.data());
        ASSERT_EQ(finish(), "");
        for (unsigned t = 0; t < 64; ++t) {
            const unsigned lane = t % 32;
            const unsigned* mine = &out[16 * t];
            unsigned thirds = 0;
            for (unsigned l = 0; l < 32; l += 3) thirds |= 1u << l;
            EXPECT_EQ(mine[0], thirds);
            EXPECT_EQ(mine[1], 1u);
            EXPECT_EQ(mine[2], 0u);
            EXPECT_EQ(mine[3], 30u);
            EXPECT_EQ(mine[4], lane < 4 ? lane : lane - 4);
            EXPECT_EQ(mine[5], lane > 27 ? lane : lane + 4);
            EXPECT_EQ(mine[6], lane ^ 9);
            EXPECT_EQ(mine[7], 496u);
            EXPECT_EQ(mine[8], lane / 8 * 8 + 1);
            EXPECT_EQ(mine[9], lane < 8 ? 0xFFu : 0xFFE00000u);
            EXPECT_EQ(mine[10], 100u);
        }
    }
}

void absent_lane() {
    if (threadIdx.x == 3) return;
    __syncwarp();
}
void foreign_mask() { __syncwarp(threadIdx.x == 3 ? 0xF0u : kAll); }
void crossed() {
    if (threadIdx.x % 2) {
        static_cast<void>(__ballot_sync(kAll, 1));
    } else {
        static_cast<void>(__any_sync(kAll, 1));
    }
}

void returned_lane() {
    if (threadIdx.x == 31) __syncwarp(0x80000001u);
}

TEST_F(Execution, LanesThatDoNotComeAreFound) {
    TRTPOSE_LAUNCH(returned_lane, 1, 32, 0, nullptr);
    EXPECT_NE(finish().find("has returned"), std::string::npos) << finish();
    emulation::reset();
    TRTPOSE_LAUNCH(absent_lane, 1, 32, 0, nullptr);
    EXPECT_NE(finish().find("do not come"), std::string::npos) << finish();
    emulation::reset();
    TRTPOSE_LAUNCH(foreign_mask, 1, 32, 0, nullptr);
    EXPECT_NE(finish().find("not in the mask"), std::string::npos) << finish();
    emulation::reset();
    TRTPOSE_LAUNCH(crossed, 1, 32, 0, nullptr);
    EXPECT_NE(finish().find("waits for it"), std::string::npos) << finish();
}

void take_slots(int* counter, int* slots) { slots[atomicAdd(counter, 1)] = static_cast<int>(threadIdx.x); }

TEST_F(Execution, AtomicsLoseNothingAndComeInAnyOrder) {
    std::set<std::vector<int>> orders;
    for (uint64_t seed = 1; seed < 6; ++seed) {
        emulation::set_schedule(seed);
        int counter = 0;
        std::vector<int> slots(128, -1);
        TRTPOSE_LAUNCH(take_slots, 1, 128, 0, nullptr, &counter, slots.data());
        ASSERT_EQ(finish(), "");
        EXPECT_EQ(counter, 128);
        EXPECT_EQ(std::set<int>(slots.begin(), slots.end()).size(), 128u);
        orders.insert(slots);
    }
    EXPECT_EQ(orders.size(), 5u);
}

void read_unwritten(unsigned char* out) {
    TRTPOSE_SHARED(unsigned char, bytes, 64);
    TRTPOSE_DYNAMIC_SHARED(more);
    out[threadIdx.x] = bytes[threadIdx.x] | more[threadIdx.x];
}

TEST_F(Execution, SharedMemoryBeginsAsRubbish) {
    std::vector<unsigned char> out(64, 0);
    TRTPOSE_LAUNCH(read_unwritten, 1, 64, 64, nullptr, out.data());
    ASSERT_EQ(finish(), "");
    EXPECT_NE(std::count(out.begin(), out.end(), 0), 64);
}

void nothing() {}

TEST_F(Execution, LaunchesOutsideTheLimitsAreRefused) {
    TRTPOSE_LAUNCH(nothing, 1, 1025, 0, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    TRTPOSE_LAUNCH(nothing, 0, 32, 0, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    TRTPOSE_LAUNCH(nothing, dim3(1, 65536), 32, 0, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    TRTPOSE_LAUNCH(nothing, 1, 32, 50000, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration) << "more than 48 KiB must be asked for";
    EXPECT_EQ(cudaFuncSetAttribute(&nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 50000), cudaSuccess);
    TRTPOSE_LAUNCH(nothing, 1, 32, 50000, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(finish(), "");
}

TEST(Half, RoundsToTheNearestAndBack) {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const __half h{static_cast<uint16_t>(bits)};
        const float x = __half2float(h);
        if (std::isnan(x)) {
            EXPECT_TRUE(std::isnan(__half2float(__float2half_rn(x))));
            continue;
        }
        ASSERT_EQ(__float2half_rn(x).bits, h.bits) << bits;
        // Half way to the next number goes to the even one.
        if ((bits & 0x7FFF) >= 0x7BFF) continue;
        const float next = __half2float(__half{static_cast<uint16_t>(bits + 1)});
        const float middle = x + (next - x) / 2;
        ASSERT_EQ(__float2half_rn(middle).bits, bits & 1 ? bits + 1 : bits) << bits;
        ASSERT_EQ(__float2half_rn(std::nextafter(middle, next)).bits, bits + 1) << bits;
        ASSERT_EQ(__float2half_rn(std::nextafter(middle, x)).bits, bits) << bits;
    }
    EXPECT_EQ(__float2half_rn(65519.996f).bits, 0x7BFF);
    EXPECT_EQ(__float2half_rn(65520.0f).bits, 0x7C00);
    EXPECT_EQ(__float2half_rn(-1e30f).bits, 0xFC00);
    EXPECT_EQ(__float2half_rn(-0.0f).bits, 0x8000);
}

}  // namespace
