// SPDX-License-Identifier: Apache-2.0
// The best candidates that NMS has not seen yet, as one sorted chunk in a block's shared memory: find where the chunk
// ends (only if there are more than fit), collect, sort. All threads of the block call each of these.
#pragma once

#include "core/cuda_compat.hpp"

namespace trtpose::kernels::chunk {

inline constexpr int kThreads = 1024;
inline constexpr int kWarps = kThreads / kWarp;
inline constexpr int kPerThread = 2;
inline constexpr int kChunk = kThreads * kPerThread;
inline constexpr int kBins = kChunk;

/// Falling score, then rising anchor, as one ascending number. Scores are positive, so their bits order as they do.
__device__ inline uint64_t rank_key(float score, int32_t anchor) {
    return static_cast<uint64_t>(~__float_as_uint(score)) << 32 | static_cast<uint32_t>(anchor);
}

__device__ inline uint32_t warp_sum(uint32_t x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_add_sync(kAllLanes, x);
#else
    for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
    return x;
#endif
}

/// One image's candidates.
struct Image {
    const float4* boxes;
    const float* scores;
    const int32_t* classes;
    const int32_t* anchors;
    int count;

    __device__ uint64_t key(int i) const { return rank_key(scores[i], anchors[i]); }
};

struct KeyRange {
    uint64_t smallest, largest;
};

/// Ends of the keys from `low` on; the smallest is above the largest where there are none.
__device__ inline KeyRange key_range(const Image& image, uint64_t low, int thread) {
    TRTPOSE_SHARED(unsigned long long, bounds, 2);
    uint64_t smallest = ~uint64_t{0}, largest = 0;
    for (int i = thread; i < image.count; i += kThreads) {
        const uint64_t key = image.key(i);
        if (key < low) continue;
        if (key < smallest) smallest = key;
        if (key > largest) largest = key;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const uint64_t s = __shfl_xor_sync(kAllLanes, smallest, step), l = __shfl_xor_sync(kAllLanes, largest, step);
        if (s < smallest) smallest = s;
        if (l > largest) largest = l;
    }
    if (thread == 0) {
        bounds[0] = ~0ull;
        bounds[1] = 0;
    }
    __syncthreads();
    if (thread % kWarp == 0) {
        atomicMin(&bounds[0], static_cast<unsigned long long>(smallest));
        atomicMax(&bounds[1], static_cast<unsigned long long>(largest));
    }
    __syncthreads();
    return {bounds[0], bounds[1]};
}

/// The last bin up to which no more than kChunk are counted; -1: the first alone has more.
__device__ inline int last_bin_that_fits(const uint32_t* bins, int thread) {
    TRTPOSE_SHARED(uint32_t, warp_counts, kWarps);
    TRTPOSE_SHARED(int, best, 1);
    const int lane = thread % kWarp, warp = thread / kWarp;
    if (thread == 0) *best = -1;
    // Running sums over the bins, two for each thread.
    const uint32_t first = bins[2 * thread], second = bins[2 * thread + 1];
    uint32_t sum = first + second;
    for (int step = 1; step < kWarp; step *= 2) {
        const uint32_t other = __shfl_up_sync(kAllLanes, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane == kWarp - 1) warp_counts[warp] = sum;
    __syncthreads();
    sum += warp_sum(lane < warp ? warp_counts[lane] : 0);
    const int last = sum <= kChunk ? 2 * thread + 1 : sum - second <= kChunk ? 2 * thread : -1;
    if (last >= 0) atomicMax(best, last);
    __syncthreads();
    return *best;
}

/// The largest key of the next chunk: the last for which no more than kChunk keys from `low` on are as small. Counts
/// keys in equal ranges, and where the first range alone has too many, divides that. All threads get the same.
__device__ inline uint64_t find_cut(const Image& image, uint64_t low, uint32_t* bins, int thread) {
    auto [smallest, largest] = key_range(image, low, thread);
    if (smallest > largest) return ~uint64_t{0};  // none left
    while (true) {
        int shift = 0;
        while ((largest - smallest) >> shift >= kBins) ++shift;
        for (int i = thread; i < kBins; i += kThreads) bins[i] = 0;
        __syncthreads();
        for (int i = thread; i < image.count; i += kThreads) {
            const uint64_t key = image.key(i);
            if (key >= smallest && key <= largest) atomicAdd(&bins[(key - smallest) >> shift], 1u);
        }
        __syncthreads();
        const int last = last_bin_that_fits(bins, thread);
        // Not all bins fit, or nobody would have asked: the chunk ends before the last one.
        if (last >= 0) return smallest + (static_cast<uint64_t>(last + 1) << shift) - 1;
        if (shift == 0) return smallest;  // equal keys, which decode does not make
        largest = smallest + ((uint64_t{1} << shift) - 1);
        __syncthreads();
    }
}

/// Candidates with keys from `low` to `high` into shared memory, in any order; how many.
__device__ inline int collect(const Image& image, uint64_t low, uint64_t high, uint64_t* keys, int32_t* indices,
                              int thread) {
    TRTPOSE_SHARED(int, filled, 1);
    const int lane = thread % kWarp;
    if (image.count <= kChunk) {  // all of them, each in its place
        for (int i = thread; i < image.count; i += kThreads) {
            keys[i] = image.key(i);
            indices[i] = i;
        }
        return image.count;
    }
    if (thread == 0) *filled = 0;
    __syncthreads();
    for (int first = 0; first < image.count; first += kThreads) {
        const int i = first + thread;
        const uint64_t key = i < image.count ? image.key(i) : 0;
        const bool taken = i < image.count && key >= low && key <= high;
        const unsigned lanes = __ballot_sync(kAllLanes, taken);
        if (lanes == 0) continue;
        int slot = 0;
        if (lane == 0) slot = atomicAdd(filled, __popc(lanes));
        slot = __shfl_sync(kAllLanes, slot, 0) + __popc(lanes & ((1u << lane) - 1));
        if (!taken || slot >= kChunk) continue;
        keys[slot] = key;
        indices[slot] = i;
    }
    __syncthreads();
    return *filled < kChunk ? *filled : kChunk;
}

/// Bitonic sort of the first `count` by rising key; the result is visible to all.
__device__ inline void sort(uint64_t* keys, int32_t* indices, int count, int thread) {
    int size = 2;
    while (size < count) size *= 2;
    for (int i = count + thread; i < size; i += kThreads) {
        keys[i] = ~uint64_t{0};
        indices[i] = -1;
    }
    __syncthreads();
    for (int run = 2; run <= size; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            if (thread < size / 2) {
                const int a = 2 * thread - (thread & (step - 1)), b = a + step;
                const bool rising = (a & run) == 0;
                const uint64_t key_a = keys[a], key_b = keys[b];
                if ((key_a > key_b) == rising) {
                    const int32_t index = indices[a];
                    keys[a] = key_b;
                    keys[b] = key_a;
                    indices[a] = indices[b];
                    indices[b] = index;
                }
            }
            // With steps up to 32 a warp keeps to its own 64 elements.
            const int next = step > 1 ? step / 2 : run;
            if (step > kWarp || next > kWarp) {
                __syncthreads();
            } else {
                __syncwarp();
            }
        }
    }
    __syncthreads();
}

}  // namespace trtpose::kernels::chunk
