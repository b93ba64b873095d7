// SPDX-License-Identifier: Apache-2.0
// One block does one image, in chunks of the best candidates that remain: find where the chunk ends (only if there are
// more than fit), sort it in shared memory, suppress. Most images are one chunk, and suppression stops at max_det, so
// that what is never looked at is never sorted.
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "ops/nms_kernels.hpp"
#include "trtpose/math/box.hpp"

namespace trtpose::kernels {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPerThread = 2;
constexpr int kChunk = kThreads * kPerThread;
constexpr int kBins = kChunk;
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

/// Falling score, then rising anchor, as one ascending number. Scores are positive, so their bits order as they do.
__device__ uint64_t rank_key(float score, int32_t anchor) {
    return static_cast<uint64_t>(~__float_as_uint(score)) << 32 | static_cast<uint32_t>(anchor);
}

__device__ uint32_t warp_sum(uint32_t x) {
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

/// The largest key of the next chunk: the last for which no more than kChunk keys from `low` on are as small. Counts
/// keys in equal ranges, and where the first range alone has too many, divides that. All threads call it, and get the
/// same.
__device__ uint64_t find_cut(const Image& image, uint64_t low, uint32_t* bins, int thread) {
    TRTPOSE_SHARED(unsigned long long, bounds, 2);
    TRTPOSE_SHARED(uint32_t, warp_counts, kWarps);
    TRTPOSE_SHARED(int, best, 1);
    const int lane = thread % kWarp, warp = thread / kWarp;

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
    if (lane == 0) {
        atomicMin(&bounds[0], static_cast<unsigned long long>(smallest));
        atomicMax(&bounds[1], static_cast<unsigned long long>(largest));
    }
    __syncthreads();
    smallest = bounds[0];
    largest = bounds[1];
    if (smallest > largest) return ~uint64_t{0};  // none left

    while (true) {
        int shift = 0;
        while ((largest - smallest) >> shift >= kBins) ++shift;
        for (int i = thread; i < kBins; i += kThreads) bins[i] = 0;
        if (thread == 0) *best = -1;
        __syncthreads();
        for (int i = thread; i < image.count; i += kThreads) {
            const uint64_t key = image.key(i);
            if (key >= smallest && key <= largest) atomicAdd(&bins[(key - smallest) >> shift], 1u);
        }
        __syncthreads();
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
        // Not all bins fit, or nobody would have asked: the chunk ends before the last one.
        if (*best >= 0) return smallest + (static_cast<uint64_t>(*best + 1) << shift) - 1;
        if (shift == 0) return smallest;  // equal keys, which decode does not make
        largest = smallest + ((uint64_t{1} << shift) - 1);
        __syncthreads();
    }
}

/// Candidates with keys from `low` to `high` into shared memory, in any order; how many. All threads call it.
__device__ int collect(const Image& image, uint64_t low, uint64_t high, uint64_t* keys, int32_t* indices, int thread) {
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

/// Bitonic sort of the first `count` by rising key. All threads call it; the result is visible to all.
__device__ void sort(uint64_t* keys, int32_t* indices, int count, int thread) {
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

template <bool kOks>
__global__ void __launch_bounds__(kThreads, 1)
    nms_kernel(const __grid_constant__ ops::Candidates candidates, const __grid_constant__ ops::NmsParams params,
               const float* keypoints, const __grid_constant__ Sigmas sigmas, int keypoint_count, float slack,
               const __grid_constant__ ops::Detections kept) {
    TRTPOSE_DYNAMIC_SHARED(shared);
    TRTPOSE_SHARED(uint32_t, open_words, kPerThread* kWarps);
    TRTPOSE_SHARED(uint64_t, window_masks, kWindow);
    TRTPOSE_SHARED(uint64_t, window_keeps, 1);
    auto* const keys = reinterpret_cast<uint64_t*>(shared + kKeysAt);
    auto* const indices = reinterpret_cast<int32_t*>(shared + kIndicesAt);
    auto* const bins = reinterpret_cast<uint32_t*>(shared + kBinsAt);
    auto* const slot_boxes = reinterpret_cast<float4*>(shared + kBoxesAt);
    auto* const slot_tags = reinterpret_cast<int2*>(shared + kTagsAt);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarp, warp = thread / kWarp;
    const unsigned lanes_before = (1u << lane) - 1;

    const size_t first = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(candidates.capacity);
    const int found = candidates.counts[blockIdx.x];
    const Image image{reinterpret_cast<const float4*>(candidates.boxes) + first, candidates.scores + first,
                      candidates.classes + first, candidates.anchors + first,
                      found < candidates.capacity ? found : candidates.capacity};
    const int considered = image.count < params.max_nms ? image.count : params.max_nms;
    int32_t* const out = kept.indices + static_cast<size_t>(blockIdx.x) * static_cast<size_t>(kept.max_det);
    const Rules rules{params.threshold, slack,
                      params.agnostic,  kOks ? keypoints + first * static_cast<size_t>(keypoint_count) * 3 : nullptr,
                      sigmas.value,     keypoint_count};
    const auto slot = [&](int i) {
        const int2 tag = slot_tags[i];
        return Candidate{slot_boxes[i], tag.x, tag.y};
    };
    const auto area_of = [](const Candidate& c) { return math::area(corners(c.box)); };

    int done = 0, count = 0;
    uint64_t low = 0;
    while (done < considered && count < kept.max_det) {
        const uint64_t high = image.count - done > kChunk ? find_cut(image, low, bins, thread) : ~uint64_t{0};
        const int collected = collect(image, low, high, keys, indices, thread);
        sort(keys, indices, collected, thread);
        const int size = collected < considered - done ? collected : considered - done;

        // From here on a thread holds the candidates at places `thread` and `thread + kThreads` of a list that shrinks.
        Candidate mine[kPerThread];
        float area[kPerThread];
        bool open[kPerThread];
#pragma unroll
        for (int q = 0; q < kPerThread; ++q) {
            const int place = q * kThreads + thread;
            open[q] = place < size;
            mine[q] = {};
            if (open[q]) {
                const int index = indices[place];
                mine[q] = {image.boxes[index], image.classes[index], index};
            }
            area[q] = area_of(mine[q]);
        }
        __syncthreads();  // the sorted lists are read; their memory serves anew

        if (!params.suppress) {
#pragma unroll
            for (int q = 0; q < kPerThread; ++q) {
                const int place = count + q * kThreads + thread;
                if (open[q] && place < kept.max_det) out[place] = mine[q].index;
            }
            count = count + size < kept.max_det ? count + size : kept.max_det;
            done += collected;
            low = high + 1;
            if (low == 0) break;
            continue;
        }

        // What earlier chunks kept.
        for (int i = 0; i < count; ++i) {
            const int index = out[i];
            const Candidate better{image.boxes[index], image.classes[index], index};
            const float better_area = area_of(better);
#pragma unroll
            for (int q = 0; q < kPerThread; ++q) {
                if (open[q] && suppresses<kOks>(better, better_area, mine[q], area[q], rules)) open[q] = false;
            }
        }

        while (true) {
            // Close ranks: those still open move to the front, in order.
            uint32_t word[kPerThread];
#pragma unroll
            for (int q = 0; q < kPerThread; ++q) {
                word[q] = __ballot_sync(kAllLanes, open[q]);
                if (lane == 0) open_words[q * kWarps + warp] = word[q];
            }
            __syncthreads();
            int length = 0;
#pragma unroll
            for (int q = 0; q < kPerThread; ++q) {
                // Open in warps before this one in the low half, in all warps in the high half.
                const auto in_warp = static_cast<uint32_t>(__popc(open_words[q * kWarps + lane]));
                const uint32_t sums = warp_sum((lane < warp ? in_warp : 0) | in_warp << 16);
                const int place = length + static_cast<int>(sums & 0xFFFF) + __popc(word[q] & lanes_before);
                if (open[q]) {
                    slot_boxes[place] = mine[q].box;
                    slot_tags[place] = make_int2(mine[q].class_id, mine[q].index);
                }
                length += static_cast<int>(sums >> 16);
            }
            if (length == 0) break;
            __syncthreads();
#pragma unroll
            for (int q = 0; q < kPerThread; ++q) {
                const int place = q * kThreads + thread;
                open[q] = place < length;
                if (open[q]) {
                    mine[q] = slot(place);
                    area[q] = area_of(mine[q]);
                }
            }

            // Who of the window would suppress whom behind it: a row of bits each.
            const int window = length < kWindow ? length : kWindow;
            for (int row = warp; row < window; row += kWarps) {
                const Candidate better = slot(row);
                const float better_area = area_of(better);
                uint64_t mask = 0;
#pragma unroll
                for (int half = 0; half < kWindow / kWarp; ++half) {
                    const int column = half * kWarp + lane;
                    bool hit = false;
                    if (column > row && column < window) {
                        const Candidate other = slot(column);
                        hit = suppresses<kOks>(better, better_area, other, area_of(other), rules);
                    }
                    mask |= static_cast<uint64_t>(__ballot_sync(kAllLanes, hit)) << (half * kWarp);
                }
                if (lane == 0) window_masks[row] = mask;
            }
            __syncthreads();

            // One warp settles the window; all of them doing so would be in each other's way.
            if (warp == 0) {
                uint64_t undecided = window == kWindow ? ~uint64_t{0} : (uint64_t{1} << window) - 1, chosen = 0;
                for (int room = kept.max_det - count; undecided != 0 && room > 0; --room) {
                    const int i = __ffsll(static_cast<long long>(undecided)) - 1;
                    const uint64_t bit = uint64_t{1} << i;
                    chosen |= bit;
                    undecided &= ~(bit | window_masks[i]);
                }
                if (lane == 0) *window_keeps = chosen;
            }
            __syncthreads();
            const uint64_t keep = *window_keeps;
            if (thread < window && (keep >> thread & 1)) {
                const uint64_t before = keep & ((uint64_t{1} << thread) - 1);
                out[count + __popcll(before)] = mine[0].index;
            }
            count += __popcll(keep);
            if (count == kept.max_det || length <= kWindow) break;

            if (thread < kWindow) open[0] = false;
            for (uint64_t rest = keep; rest != 0 && __any_sync(kAllLanes, open[0] || open[1]); rest &= rest - 1) {
                const Candidate better = slot(__ffsll(static_cast<long long>(rest)) - 1);
                const float better_area = area_of(better);
#pragma unroll
                for (int q = 0; q < kPerThread; ++q) {
                    if (open[q] && suppresses<kOks>(better, better_area, mine[q], area[q], rules)) open[q] = false;
                }
            }
        }
        done += collected;
        low = high + 1;
        if (low == 0) break;
        __syncthreads();  // the next chunk reads what this one kept, and takes the memory
    }
    if (thread == 0) kept.counts[blockIdx.x] = count;
}
static_assert(kPerThread == 2, "suppression asks for two by name");

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
