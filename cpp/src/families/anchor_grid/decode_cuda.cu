// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "families/anchor_grid/decode_kernels.hpp"
#include "families/anchor_grid/head_reader.hpp"

namespace trtpose::kernels {
namespace {

constexpr int kThreads = 128;
// Anchors a thread looks at, all read before the first is judged.
constexpr int kItems = 4;
// Leaves decode the registers it needs; more blocks at a time would make some compilers spill.
constexpr int kBlocksPerSm = 8;

struct Place {
    int level, anchor, cell;
};

/// Where the anchor with this running number stands.
__device__ Place place_of(const ops::HeadView& heads, int number) {
    int l = 0;
    while (l + 1 < heads.levels && number >= heads.level[l + 1].first_anchor) ++l;
    const int cells = heads.level[l].height * heads.level[l].width;
    const int local = number - heads.level[l].first_anchor;
    const int anchor = local / cells;
    return {l, anchor, local - anchor * cells};
}

/// The objectness or, without one, the best class score. NaN passes no gate.
template <typename T>
__device__ float read_gate(const ops::HeadView& heads, int image, const Place& place) {
    const ops::HeadLevel& level = heads.level[place.level];
    const T* first = static_cast<const T*>(level.data) + image * level.image_step + place.anchor * level.anchor_step +
                     place.cell * level.cell_step;
    if (has_objectness(heads)) return to_float(first[kObjectness * level.field_step]);
    if (heads.layout == Layout::final) return to_float(first[heads.class_field * level.field_step]);
    float best = -INFINITY;
    for (int c = 0; c < heads.classes; ++c) {
        const float score = to_float(first[(heads.class_field + c) * level.field_step]);
        if (score > best) best = score;
    }
    return best;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    decode_kernel(const __grid_constant__ ops::HeadView heads, float gate, float conf,
                  const __grid_constant__ ops::Candidates out) {
    const int image = static_cast<int>(blockIdx.y);
    const int first = static_cast<int>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;

    float values[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
        const int number = first + i * kThreads;
        values[i] = number < heads.total_anchors ? read_gate<T>(heads, image, place_of(heads, number)) : NAN;
    }
    unsigned open = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) open |= values[i] > gate ? 1u << i : 0u;

    // Few anchors get here: what follows is kept small rather than fast.
#pragma unroll 1
    for (int i = 0; i < kItems; ++i) {
        bool passes = open >> i & 1;
        if (!__any_sync(kAllLanes, passes)) continue;
        Scored scored{};
        math::Box box{};
        if (passes) {
            const Place place = place_of(heads, first + i * kThreads);
            const auto a = read_anchor<T>(heads.level[place.level], image, place.anchor, place.cell);
            passes = !is_raw(heads) || math::sigmoid(a(kObjectness)) > conf;
            if (passes) {
                scored = read_score(heads, a);
                passes = scored.score > conf && math::is_finite(scored.score) && scored.class_id >= 0;
            }
            if (passes) {
                box = read_box(heads, a);
                passes = math::is_finite(box.x1) && math::is_finite(box.y1) && math::is_finite(box.x2) &&
                         math::is_finite(box.y2);
            }
        }
        // One atomic for the whole warp, which takes as many slots as it has candidates.
        const unsigned lanes = __ballot_sync(kAllLanes, passes);
        if (lanes == 0) continue;
        const int leader = __ffs(static_cast<int>(lanes)) - 1;
        int slot = 0;
        if (lane == leader) slot = atomicAdd(&out.counts[image], __popc(lanes));
        slot = __shfl_sync(kAllLanes, slot, leader) + __popc(lanes & ((1u << lane) - 1));
        if (!passes || slot >= out.capacity) continue;
        const size_t at = static_cast<size_t>(image) * static_cast<size_t>(out.capacity) + static_cast<size_t>(slot);
        reinterpret_cast<float4*>(out.boxes)[at] = make_float4(box.x1, box.y1, box.x2, box.y2);
        out.scores[at] = scored.score;
        out.classes[at] = scored.class_id;
        out.anchors[at] = first + i * kThreads;
    }
}

/// A thread for each keypoint of each candidate.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    keypoints_kernel(const __grid_constant__ ops::HeadView heads, const __grid_constant__ ops::Candidates candidates,
                     float* keypoints) {
    const int image = static_cast<int>(blockIdx.y);
    const int found = candidates.counts[image];
    const int64_t total =
        static_cast<int64_t>(found < candidates.capacity ? found : candidates.capacity) * heads.keypoints;
    const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
        const int candidate = static_cast<int>(i / heads.keypoints), k = static_cast<int>(i % heads.keypoints);
        const size_t at =
            static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) + static_cast<size_t>(candidate);
        const auto a = read_anchor<T>(heads, image, candidates.anchors[at]);
        read_keypoint(heads, a, k,
                      keypoints + (at * static_cast<size_t>(heads.keypoints) + static_cast<size_t>(k)) * 3);
    }
}

__device__ float cut(float x, float most) { return x < 0.0f ? 0.0f : most < x ? most : x; }

/// A thread for each keypoint of each kept candidate; the first also writes what there is once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    poses_kernel(const __grid_constant__ ops::HeadView heads, const __grid_constant__ ops::Candidates candidates,
                 const __grid_constant__ ops::Detections kept, const math::Letterbox* placements,
                 const __grid_constant__ ops::PoseArrays out) {
    const int image = static_cast<int>(blockIdx.y);
    const int thread = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int threads_per_pose = heads.keypoints > 0 ? heads.keypoints : 1;
    const int pose = thread / threads_per_pose, k = thread % threads_per_pose;
    if (pose >= kept.counts[image]) return;
    const math::Letterbox& place = placements[image];
    const float sx = place.scale_x(), sy = place.scale_y();
    const float left = static_cast<float>(place.left), top = static_cast<float>(place.top);
    const size_t to = static_cast<size_t>(image) * static_cast<size_t>(kept.max_det) + static_cast<size_t>(pose);
    const size_t from =
        static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) + static_cast<size_t>(kept.indices[to]);
    if (k == 0) {
        const float4 box = reinterpret_cast<const float4*>(candidates.boxes)[from];
        const float right = static_cast<float>(place.src_width), bottom = static_cast<float>(place.src_height);
        reinterpret_cast<float4*>(out.boxes)[to] =
            make_float4(cut((box.x - left) * sx, right), cut((box.y - top) * sy, bottom),
                        cut((box.z - left) * sx, right), cut((box.w - top) * sy, bottom));
        out.scores[to] = candidates.scores[from];
        out.class_ids[to] = candidates.classes[from];
    }
    if (heads.keypoints == 0) return;
    const auto a = read_anchor<T>(heads, image, candidates.anchors[from]);
    float point[3];
    read_keypoint(heads, a, k, point);
    if (point[0] != 0.0f || point[1] != 0.0f || point[2] != 0.0f) {  // "not there" stays where it is
        point[0] = (point[0] - left) * sx;
        point[1] = (point[1] - top) * sy;
    }
    float* to_point = out.keypoints + (to * static_cast<size_t>(heads.keypoints) + static_cast<size_t>(k)) * 3;
    to_point[0] = point[0];
    to_point[1] = point[1];
    to_point[2] = point[2];
}

unsigned blocks_for(int64_t threads, int each) { return static_cast<unsigned>((threads + each - 1) / each); }

/// body(T()) with the type of the heads' numbers.
template <typename Body>
void with_dtype(const ops::HeadView& heads, Body&& body) {
    if (heads.dtype == DType::f16) {
        body(__half());
    } else {
        body(float());
    }
}

}  // namespace

void decode_cuda(const ops::HeadView& heads, float conf, const ops::Candidates& out, void* stream) {
    if (heads.batch == 0) return;
    cuda_check(cudaMemsetAsync(out.counts, 0, static_cast<size_t>(heads.batch) * sizeof(int32_t),
                               static_cast<cudaStream_t>(stream)),
               "clear the counts of candidates");
    const dim3 grid(blocks_for(heads.total_anchors, kThreads * kItems), static_cast<unsigned>(heads.batch));
    with_dtype(heads, [&](auto type) {
        auto* const kernel = &decode_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, heads, gate_of(heads, conf), conf, out);
    });
    cuda_check_launch("decode");
}

void keypoints_cuda(const ops::HeadView& heads, const ops::Candidates& candidates, float* keypoints, void* stream) {
    if (heads.batch == 0 || heads.keypoints == 0) return;
    // How many candidates there are is known on the device alone: enough blocks for some thousand, which go on in
    // steps.
    constexpr int64_t kUsual = 4096;
    const int64_t usual = candidates.capacity < kUsual ? candidates.capacity : kUsual;
    if (usual == 0) return;
    const dim3 grid(blocks_for(usual * heads.keypoints, kThreads), static_cast<unsigned>(heads.batch));
    with_dtype(heads, [&](auto type) {
        auto* const kernel = &keypoints_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, heads, candidates, keypoints);
    });
    cuda_check_launch("keypoints");
}

void poses_cuda(const ops::HeadView& heads, const ops::Candidates& candidates, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream) {
    if (heads.batch == 0 || kept.max_det == 0) return;
    const int64_t each = heads.keypoints > 0 ? heads.keypoints : 1;
    const dim3 grid(blocks_for(kept.max_det * each, kThreads), static_cast<unsigned>(heads.batch));
    with_dtype(heads, [&](auto type) {
        auto* const kernel = &poses_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, heads, candidates, kept, placements, out);
    });
    cuda_check_launch("poses");
}

}  // namespace trtpose::kernels
