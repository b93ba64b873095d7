// SPDX-License-Identifier: Apache-2.0
// One block does one image, in chunks of the best candidates that remain: find where the chunk ends (only if there are
// more than fit), sort it in shared memory, suppress. Most images are one chunk, and suppression stops at max_det, so
// that what is never looked at is never sorted.
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "ops/nms_chunk_cuda.hpp"
#include "ops/nms_kernels.hpp"
#include "trtpose/math/box.hpp"

namespace trtpose::kernels {
namespace {

using chunk::Image;
using chunk::kBins;
using chunk::kChunk;
using chunk::kPerThread;
using chunk::kThreads;
using chunk::kWarps;

// Candidates settled among themselves in one round; what they leave is compared with the rest all at once.
constexpr int kWindow = 64;

// Shared memory, first as the sort uses it, then as suppression does.
constexpr size_t kKeysAt = 0;
constexpr size_t kIndicesAt = kKeysAt + kChunk * sizeof(uint64_t);
constexpr size_t kBinsAt = kIndicesAt + kChunk * sizeof(int32_t);
constexpr size_t kBoxesAt = 0;
constexpr size_t kTagsAt = kBoxesAt + kChunk * sizeof(float4);
constexpr size_t kSharedBytes = kTagsAt + kChunk * sizeof(int2);
static_assert(kBinsAt + kBins * sizeof(uint32_t) <= kSharedBytes, "the sort fits too");

struct Sigmas {
    float value[kMaxCudaSigmas];
};

/// What suppression compares.
struct Rules {
    float threshold;
    float slack;  ///< a little below the threshold; an overlap that is not above it needs no division
    bool agnostic;
    const float* keypoints;  ///< of the image's candidates, for OKS
    const float* sigmas;
    int keypoint_count;
};

struct Candidate {
    float4 box;
    int class_id;
    int index;  ///< in the image's candidates
};

__device__ math::Box corners(const float4& b) { return {b.x, b.y, b.z, b.w}; }
__device__ float area_of(const Candidate& c) { return math::area(corners(c.box)); }

/// math::iou(...) > threshold, without the division where it cannot change the answer.
__device__ bool overlaps(const math::Box& a, const math::Box& b, float area_a, float area_b, const Rules& rules) {
    const float w = math::max_of(math::min_of(a.x2, b.x2) - math::max_of(a.x1, b.x1), 0.0f);
    const float h = math::max_of(math::min_of(a.y2, b.y2) - math::max_of(a.y1, b.y1), 0.0f);
    const float inter = w * h;
    const float all = area_a + area_b - inter;
    // Both products are rounded by less than 2^-23 of themselves, and the slack is 2^-20 (see nms_cuda).
    if (all > 1e-20f && !(inter > rules.slack * all)) return false;
    return inter / all > rules.threshold;
}

/// Whether `better`, kept, suppresses `other`.
template <bool kOks>
__device__ bool suppresses(const Candidate& better, float better_area, const Candidate& other, float other_area,
                           const Rules& rules) {
    if (!rules.agnostic && better.class_id != other.class_id) return false;
    if constexpr (kOks) {
        const int64_t pose = static_cast<int64_t>(rules.keypoint_count) * 3;
        return math::oks(rules.keypoints + better.index * pose, rules.keypoints + other.index * pose,
                         rules.keypoint_count, 3, rules.sigmas, better_area) > rules.threshold;
    } else {
        return overlaps(corners(better.box), corners(other.box), better_area, other_area, rules);
    }
}

/// The candidates a thread answers for, at places `thread` and `thread + kThreads` of the list.
struct Own {
    Candidate candidate[kPerThread];
    float area[kPerThread];
    bool alive[kPerThread];  ///< neither kept nor suppressed
};

/// Those of the chunk that are alive, best first, in shared memory.
struct Ranks {
    float4* boxes;
    int2* tags;  ///< class and index

    __device__ Candidate operator[](int place) const {
        const int2 tag = tags[place];
        return {boxes[place], tag.x, tag.y};
    }
    __device__ void put(int place, const Candidate& c) const {
        boxes[place] = c.box;
        tags[place] = make_int2(c.class_id, c.index);
    }
};

/// An image's results, best first.
struct Kept {
    int32_t* indices;
    const int& max_det;  ///< where the kernel finds it, so that it takes no register
    int count;
};

/// The first `size` of a sorted chunk.
__device__ Own load(const Image& image, const int32_t* sorted, int size, int thread) {
    Own own;
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        const int place = q * kThreads + thread;
        own.alive[q] = place < size;
        own.candidate[q] = {};
        if (own.alive[q]) {
            const int index = sorted[place];
            own.candidate[q] = {image.boxes[index], image.classes[index], index};
        }
        own.area[q] = area_of(own.candidate[q]);
    }
    return own;
}

/// Without suppression the best are kept as they come.
__device__ void keep_all(const Own& own, int size, int thread, Kept& kept) {
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        const int place = kept.count + q * kThreads + thread;
        if (own.alive[q] && place < kept.max_det) kept.indices[place] = own.candidate[q].index;
    }
    kept.count = kept.count + size < kept.max_det ? kept.count + size : kept.max_det;
}

template <bool kOks>
__device__ void suppress_own(const Candidate& better, const Rules& rules, Own& own) {
    const float better_area = area_of(better);
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        if (own.alive[q] && suppresses<kOks>(better, better_area, own.candidate[q], own.area[q], rules))
            own.alive[q] = false;
    }
}

/// Those alive move to the front, in order, and are dealt out anew; how many.
__device__ int close_ranks(const Ranks& ranks, int thread, Own& own) {
    TRTPOSE_SHARED(uint32_t, alive_words, kPerThread* kWarps);
    const int lane = thread % kWarp, warp = thread / kWarp;
    const unsigned lanes_before = (1u << lane) - 1;
    uint32_t word[kPerThread];
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        word[q] = __ballot_sync(kAllLanes, own.alive[q]);
        if (lane == 0) alive_words[q * kWarps + warp] = word[q];
    }
    __syncthreads();
    int length = 0;
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        // Alive in warps before this one in the low half, in all warps in the high half.
        const auto in_warp = static_cast<uint32_t>(__popc(alive_words[q * kWarps + lane]));
        const uint32_t sums = chunk::warp_sum((lane < warp ? in_warp : 0) | in_warp << 16);
        const int place = length + static_cast<int>(sums & 0xFFFF) + __popc(word[q] & lanes_before);
        if (own.alive[q]) ranks.put(place, own.candidate[q]);
        length += static_cast<int>(sums >> 16);
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < kPerThread; ++q) {
        const int place = q * kThreads + thread;
        own.alive[q] = place < length;
        if (own.alive[q]) {
            own.candidate[q] = ranks[place];
            own.area[q] = area_of(own.candidate[q]);
        }
    }
    return length;
}

/// NMS among the first `window` of the ranks alone, which keeps `room` of them at most: a bit for each that is kept.
template <bool kOks>
__device__ uint64_t settle_window(const Ranks& ranks, int window, int room, const Rules& rules, int thread) {
    TRTPOSE_SHARED(uint64_t, masks, kWindow);
    TRTPOSE_SHARED(uint64_t, keeps, 1);
    const int lane = thread % kWarp, warp = thread / kWarp;
    // Who would suppress whom behind it: a row of bits each.
    for (int row = warp; row < window; row += kWarps) {
        const Candidate better = ranks[row];
        const float better_area = area_of(better);
        uint64_t mask = 0;
#pragma unroll
        for (int half = 0; half < kWindow / kWarp; ++half) {
            const int column = half * kWarp + lane;
            bool hit = false;
            if (column > row && column < window) {
                const Candidate other = ranks[column];
                hit = suppresses<kOks>(better, better_area, other, area_of(other), rules);
            }
            mask |= static_cast<uint64_t>(__ballot_sync(kAllLanes, hit)) << (half * kWarp);
        }
        if (lane == 0) masks[row] = mask;
    }
    __syncthreads();
    // One warp settles the window; all of them doing so would be in each other's way.
    if (warp == 0) {
        uint64_t undecided = window == kWindow ? ~uint64_t{0} : (uint64_t{1} << window) - 1, chosen = 0;
        for (; undecided != 0 && room > 0; --room) {
            const int i = __ffsll(static_cast<long long>(undecided)) - 1;
            const uint64_t bit = uint64_t{1} << i;
            chosen |= bit;
            undecided &= ~(bit | masks[i]);
        }
        if (lane == 0) *keeps = chosen;
    }
    __syncthreads();
    return *keeps;
}

/// What the window keeps suppresses of those behind it. The window itself is done with.
template <bool kOks>
__device__ void suppress_rest(const Ranks& ranks, uint64_t keep, const Rules& rules, int thread, Own& own) {
    if (thread < kWindow) own.alive[0] = false;
    for (uint64_t rest = keep; rest != 0 && __any_sync(kAllLanes, own.alive[0] || own.alive[1]); rest &= rest - 1)
        suppress_own<kOks>(ranks[__ffsll(static_cast<long long>(rest)) - 1], rules, own);
}
static_assert(kPerThread == 2, "suppression asks for two by name");

/// NMS of one chunk behind what earlier ones kept.
template <bool kOks>
__device__ void suppress_chunk(const Image& image, const Ranks& ranks, const Rules& rules, int thread, Own& own,
                               Kept& kept) {
    for (int i = 0; i < kept.count; ++i) {
        const int index = kept.indices[i];
        suppress_own<kOks>({image.boxes[index], image.classes[index], index}, rules, own);
    }
    while (true) {
        const int length = close_ranks(ranks, thread, own);
        if (length == 0) return;
        const int window = length < kWindow ? length : kWindow;
        const uint64_t keep = settle_window<kOks>(ranks, window, kept.max_det - kept.count, rules, thread);
        if (thread < window && (keep >> thread & 1)) {
            const uint64_t before = keep & ((uint64_t{1} << thread) - 1);
            kept.indices[kept.count + __popcll(before)] = own.candidate[0].index;
        }
        kept.count += __popcll(keep);
        if (kept.count == kept.max_det || length <= kWindow) return;
        suppress_rest<kOks>(ranks, keep, rules, thread, own);
    }
}

template <bool kOks>
__global__ void __launch_bounds__(kThreads, 1)
    nms_kernel(const __grid_constant__ ops::Candidates candidates, const __grid_constant__ ops::NmsParams params,
               const float* keypoints, const __grid_constant__ Sigmas sigmas, int keypoint_count, float slack,
               const __grid_constant__ ops::Detections detections) {
    TRTPOSE_DYNAMIC_SHARED(shared);
    auto* const keys = reinterpret_cast<uint64_t*>(shared + kKeysAt);
    auto* const indices = reinterpret_cast<int32_t*>(shared + kIndicesAt);
    auto* const bins = reinterpret_cast<uint32_t*>(shared + kBinsAt);
    const Ranks ranks{reinterpret_cast<float4*>(shared + kBoxesAt), reinterpret_cast<int2*>(shared + kTagsAt)};
    const int thread = static_cast<int>(threadIdx.x);

    const size_t first = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(candidates.capacity);
    const int found = candidates.counts[blockIdx.x];
    const Image image{reinterpret_cast<const float4*>(candidates.boxes) + first, candidates.scores + first,
                      candidates.classes + first, candidates.anchors + first,
                      found < candidates.capacity ? found : candidates.capacity};
    const int considered = image.count < params.max_nms ? image.count : params.max_nms;
    const Rules rules{params.threshold, slack,
                      params.agnostic,  kOks ? keypoints + first * static_cast<size_t>(keypoint_count) * 3 : nullptr,
                      sigmas.value,     keypoint_count};
    Kept kept{detections.indices + static_cast<size_t>(blockIdx.x) * static_cast<size_t>(detections.max_det),
              detections.max_det, 0};

    uint64_t low = 0;
    for (int done = 0; done < considered && kept.count < kept.max_det;) {
        const uint64_t high = image.count - done > kChunk ? chunk::find_cut(image, low, bins, thread) : ~uint64_t{0};
        const int collected = chunk::collect(image, low, high, keys, indices, thread);
        chunk::sort(keys, indices, collected, thread);
        const int size = collected < considered - done ? collected : considered - done;
        Own own = load(image, indices, size, thread);
        __syncthreads();  // the sorted lists are read; their memory serves anew
        done += collected;
        low = high + 1;
        if (params.suppress) {
            suppress_chunk<kOks>(image, ranks, rules, thread, own, kept);
        } else {
            keep_all(own, size, thread, kept);
        }
        if (low == 0) break;
        __syncthreads();  // the next chunk reads what this one kept, and takes the memory
    }
    if (thread == 0) detections.counts[blockIdx.x] = kept.count;
}

}  // namespace

void nms_cuda(const ops::NmsParams& params, const ops::Candidates& candidates, int batch, const float* keypoints,
              const float* sigmas, int keypoint_count, const ops::Detections& kept, void* stream) {
    if (batch == 0) return;
    const bool oks = params.similarity == ops::Similarity::oks;
    Sigmas copied{};
    if (oks) {
        require(keypoint_count <= kMaxCudaSigmas, ErrorCode::input, "NMS by OKS on CUDA: ", keypoint_count,
                " keypoints, at most ", kMaxCudaSigmas, " are supported; use IoU");
        for (int i = 0; i < keypoint_count; ++i) copied.value[i] = sigmas[i];
    }
    // Below this the product with an area could lose bits; nothing is left out then.
    const float slack = params.threshold < 1e-6f ? (params.threshold < 0 ? params.threshold : 0.0f)
                                                 : params.threshold * (1.0f - 1.0f / (1 << 20));
    auto* const kernel = oks ? &nms_kernel<true> : &nms_kernel<false>;
    // More than 48 KiB must be asked for; every GPU from compute capability 7.5 on has 64.
    cuda_check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedBytes)),
        "reserve shared memory for NMS");
    TRTPOSE_LAUNCH(kernel, static_cast<unsigned>(batch), kThreads, kSharedBytes, stream, candidates, params, keypoints,
                   copied, keypoint_count, slack, kept);
    cuda_check_launch("NMS");
}

}  // namespace trtpose::kernels
