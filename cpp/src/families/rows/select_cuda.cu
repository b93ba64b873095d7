// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "families/rows/select.hpp"

namespace trtpose::rows {
namespace {

constexpr int kThreads = 128;

__device__ float to_float(float x) { return x; }
__device__ float to_float(__half x) { return __half2float(x); }

template <typename T>
__device__ const T* keypoint_of(const View& view, int image, int row, int k) {
    const size_t at = static_cast<size_t>(image) * static_cast<size_t>(view.rows) + static_cast<size_t>(row);
    const size_t each = static_cast<size_t>(view.keypoint_count) * kPointNumbers;
    return static_cast<const T*>(view.keypoints) + at * each + static_cast<size_t>(k) * kPointNumbers;
}

template <typename T>
__device__ void read_point(const T* from, float* to) {
    to[0] = to_float(from[0]);
    to[1] = to_float(from[1]);
    to[2] = to_float(from[2]);
    keep_finite(to);
}

/// A thread for each row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    row_candidates_kernel(const __grid_constant__ View view, const __grid_constant__ ops::Candidates out) {
    const int image = static_cast<int>(blockIdx.y);
    const int row = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (row >= view.rows) return;
    const size_t first = static_cast<size_t>(image) * static_cast<size_t>(view.rows);
    const T* numbers = static_cast<const T*>(view.boxes) + (first + static_cast<size_t>(row)) * kBoxNumbers;
    const float score = to_float(numbers[4]);
    if (!(score > view.conf)) return;
    const math::Box box{to_float(numbers[0]), to_float(numbers[1]), to_float(numbers[2]), to_float(numbers[3])};
    if (!passes(box, score, view.conf)) return;
    // Where a candidate lies decides nothing: NMS orders them by score and row.
    const int slot = atomicAdd(&out.counts[image], 1);
    const size_t at = first + static_cast<size_t>(slot);
    reinterpret_cast<float4*>(out.boxes)[at] = make_float4(box.x1, box.y1, box.x2, box.y2);
    out.scores[at] = score;
    out.classes[at] = 0;
    out.anchors[at] = row;
}

/// A thread for each keypoint of each candidate.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    row_keypoints_kernel(const __grid_constant__ View view, const __grid_constant__ ops::Candidates candidates,
                         float* keypoints) {
    const int image = static_cast<int>(blockIdx.y);
    const int64_t total = static_cast<int64_t>(candidates.counts[image]) * view.keypoint_count;
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= total) return;
    const int k = static_cast<int>(i % view.keypoint_count);
    const size_t at = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) +
                      static_cast<size_t>(i / view.keypoint_count);
    const size_t to = at * static_cast<size_t>(view.keypoint_count) + static_cast<size_t>(k);
    read_point(keypoint_of<T>(view, image, candidates.anchors[at], k), keypoints + to * kPointNumbers);
}

/// A thread for each keypoint of each pose; the first also writes what there is once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    row_poses_kernel(const __grid_constant__ View view, const __grid_constant__ ops::Candidates candidates,
                     const __grid_constant__ ops::Detections kept, const math::Letterbox* placements,
                     const __grid_constant__ ops::PoseArrays out) {
    const int image = static_cast<int>(blockIdx.y);
    const int thread = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int pose = thread / view.keypoint_count, k = thread % view.keypoint_count;
    if (pose >= kept.counts[image]) return;
    const WayBack back(placements[image]);
    const size_t to = static_cast<size_t>(image) * static_cast<size_t>(kept.max_det) + static_cast<size_t>(pose);
    const size_t from =
        static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) + static_cast<size_t>(kept.indices[to]);
    if (k == 0) {
        back.box(candidates.boxes + 4 * from, out.boxes + 4 * to);
        out.scores[to] = candidates.scores[from];
        out.class_ids[to] = candidates.classes[from];
    }
    float point[3];
    read_point(keypoint_of<T>(view, image, candidates.anchors[from], k), point);
    back.point(point);
    const size_t at = to * static_cast<size_t>(view.keypoint_count) + static_cast<size_t>(k);
    for (int i = 0; i < kPointNumbers; ++i) out.keypoints[at * kPointNumbers + i] = point[i];
}

dim3 grid_of(int64_t threads, int images) {
    return {static_cast<unsigned>((threads + kThreads - 1) / kThreads), static_cast<unsigned>(images)};
}

/// body(T()) with the type of the outputs' numbers.
template <typename Body>
void with_dtype(const View& view, Body&& body) {
    if (view.dtype == DType::f16) {
        body(__half());
    } else {
        body(float());
    }
}

}  // namespace

void candidates_cuda(const View& view, const ops::Candidates& out, void* stream) {
    if (view.count == 0) return;
    cuda_check(cudaMemsetAsync(out.counts, 0, static_cast<size_t>(view.count) * sizeof(int32_t),
                               static_cast<cudaStream_t>(stream)),
               "clear the counts of candidates");
    with_dtype(view, [&](auto type) {
        auto* const kernel = &row_candidates_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid_of(view.rows, view.count), kThreads, 0, stream, view, out);
    });
    cuda_check_launch("candidates of rows");
}

void keypoints_cuda(const View& view, const ops::Candidates& candidates, float* keypoints, void* stream) {
    if (view.count == 0) return;
    const int64_t most = static_cast<int64_t>(candidates.capacity) * view.keypoint_count;
    with_dtype(view, [&](auto type) {
        auto* const kernel = &row_keypoints_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid_of(most, view.count), kThreads, 0, stream, view, candidates, keypoints);
    });
    cuda_check_launch("keypoints of rows");
}

void poses_cuda(const View& view, const ops::Candidates& candidates, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream) {
    if (view.count == 0 || kept.max_det == 0) return;
    const int64_t most = static_cast<int64_t>(kept.max_det) * view.keypoint_count;
    with_dtype(view, [&](auto type) {
        auto* const kernel = &row_poses_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid_of(most, view.count), kThreads, 0, stream, view, candidates, kept, placements, out);
    });
    cuda_check_launch("poses of rows");
}

}  // namespace trtpose::rows
