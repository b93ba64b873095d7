// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "trtpose/math/host_device.hpp"

namespace trtpose::movenet {

/// Known before the formulas, which are templates of it.
TRTPOSE_HD float number(__half x) { return __half2float(x); }

}  // namespace trtpose::movenet

#include "families/movenet/select_kernels.hpp"

namespace trtpose::movenet {
namespace {

using kernels::kAllLanes;
using kernels::kWarp;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
// How many people there are is known on the device alone: blocks for so many, which go on in steps.
constexpr int kUsualPeople = 16;
// Leaves people the registers they need; without it some compilers spill.
constexpr int kBlocksPerSm = 4;

/// The best of a block's threads, in all of them.
__device__ Best best_of_block(Best own) {
    TRTPOSE_SHARED(float, values, kWarps);
    TRTPOSE_SHARED(int, cells, kWarps);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const float value = __shfl_xor_sync(kAllLanes, own.value, step);
        const int cell = __shfl_xor_sync(kAllLanes, own.cell, step);
        if (cell >= 0) {
            if (own.cell < 0) own = {value, cell};
            own.take(value, cell);
        }
    }
    if (lane == 0) {
        values[warp] = own.value;
        cells[warp] = own.cell;
    }
    __syncthreads();
    Best best;
    for (int w = 0; w < kWarps; ++w) {
        if (cells[w] >= 0) {
            if (best.cell < 0) best = {values[w], cells[w]};
            best.take(values[w], cells[w]);
        }
    }
    __syncthreads();  // the arrays serve the next search
    return best;
}

/// A block for each image.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    center_kernel(const __grid_constant__ Outputs all, const __grid_constant__ People people) {
    const int image = static_cast<int>(blockIdx.x);
    const Planes<T> map = planes<T>(all, Outputs::kCenter, 1, image);
    const Pair from = middle(all);
    Best own;
    for (int cell = static_cast<int>(threadIdx.x); cell < all.cells(); cell += kThreads)
        own.take(near_value(all.settings, 0, from, cell / all.width, cell % all.width, map(0, cell)), cell);
    const Best best = best_of_block(own);
    if (threadIdx.x != 0) return;
    const int64_t first = static_cast<int64_t>(image) * people.capacity;
    people.chosen.counts[image] = best.cell >= 0;
    people.chosen.indices[first] = 0;
    people.centers.anchors[first] = best.cell;
}

/// A thread for each cell.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    centers_kernel(const __grid_constant__ Outputs all, float conf, const __grid_constant__ People people) {
    const int image = static_cast<int>(blockIdx.y);
    const int cell = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (cell >= all.cells()) return;
    const Settings& s = all.settings;
    const T* const map = planes<T>(all, Outputs::kCenter, 1, image).data;
    const float raw = number(map[cell]);
    if (!math::is_finite(raw)) return;
    const float score = score_of(s, raw);
    if (!s.people && !(score > conf)) return;
    if (!is_peak(s, map, all.height, all.width, cell / all.width, cell % all.width)) return;
    const ops::Candidates& centers = people.centers;
    const int slot = atomicAdd(&centers.counts[image], 1);
    if (slot >= centers.capacity) return;
    const int64_t at = static_cast<int64_t>(image) * centers.capacity + slot;
    reinterpret_cast<float4*>(centers.boxes)[at] = make_float4(0, 0, 0, 0);
    centers.scores[at] = score;
    centers.classes[at] = 0;
    centers.anchors[at] = cell;
}

/// The cell of a keypoint, by the threads of a block.
template <typename T>
__device__ Best search(const Outputs& all, int image, int center, int k) {
    const Settings& s = all.settings;
    const Planes<T> heatmap = planes<T>(all, Outputs::kHeatmap, all.keypoints, image);
    const Pair from = expected_place<T>(all, image, k, center);
    const int thread = static_cast<int>(threadIdx.x);
    Best own;
    if (is_single(s.form)) {
        for (int cell = thread; cell < all.cells(); cell += kThreads)
            own.take(near_value(s, s.floor, from, cell / all.width, cell % all.width, heatmap(k, cell)), cell);
        return own;
    }
    const Area area = area_of<T>(all, image, center);
    const int columns = area.right - area.left, total = columns * (area.bottom - area.top);
    if (columns <= 0) return own;
    const float width = bell_width(all);
    for (int i = thread; i < total; i += kThreads) {
        const int row = area.top + i / columns, column = area.left + i % columns, cell = row * all.width + column;
        own.take(bell_value(s, heatmap(k, cell), bell(from.x, column, width), bell(from.y, row, width)), cell);
    }
    return own;
}

/// A block for each keypoint of each of those chosen.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cells_kernel(const __grid_constant__ Outputs all, const __grid_constant__ People people) {
    const int image = static_cast<int>(blockIdx.y);
    const int total = people.chosen.counts[image] * all.keypoints;
    const int64_t first = static_cast<int64_t>(image) * people.capacity;
    const int32_t* const anchors = people.centers.anchors + static_cast<int64_t>(image) * people.centers.capacity;
    for (int i = static_cast<int>(blockIdx.x); i < total; i += static_cast<int>(gridDim.x)) {
        const int slot = i / all.keypoints, k = i % all.keypoints;
        const Best best = best_of_block(search<T>(all, image, anchors[people.chosen.indices[first + slot]], k));
        if (threadIdx.x != 0) continue;
        people.cells[first * all.keypoints + i] = best.cell;
        people.values[first * all.keypoints + i] = best.value;
    }
}

/// A thread for each of those chosen or, of a decoded output, each row.
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    people_kernel(const __grid_constant__ Outputs all, float conf, const __grid_constant__ People people) {
    const int image = static_cast<int>(blockIdx.y);
    const int slot = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const bool raw = is_raw(all.settings.form);
    if (slot >= (raw ? people.chosen.counts[image] : all.rows)) return;
    const ops::Candidates& found = people.found;
    const int64_t first = static_cast<int64_t>(image) * people.capacity;
    float* const points = people.points + (first + slot) * all.keypoints * 3;
    const Person person =
        raw ? read_center<T>(all, people, image, slot, points) : read_row<T>(all, image, slot, points);
    if (!(person.score > conf) || !finite_person(person) || !finite_points(points, all.keypoints)) return;
    const int64_t at = first + atomicAdd(&found.counts[image], 1);
    reinterpret_cast<float4*>(found.boxes)[at] =
        make_float4(person.box.x1, person.box.y1, person.box.x2, person.box.y2);
    found.scores[at] = person.score;
    found.classes[at] = 0;
    found.anchors[at] = slot;
}

/// A thread for each keypoint of each kept person; the first also writes what there is once.
__global__ void __launch_bounds__(kThreads)
    people_poses_kernel(const __grid_constant__ Outputs all, const __grid_constant__ People people,
                        const __grid_constant__ ops::Detections kept, const math::Letterbox* placements,
                        const __grid_constant__ ops::PoseArrays out) {
    const int image = static_cast<int>(blockIdx.y);
    const int thread = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int pose = thread / all.keypoints, k = thread % all.keypoints;
    if (pose >= kept.counts[image]) return;
    const math::Letterbox& place = placements[image];
    const int64_t first = static_cast<int64_t>(image) * people.capacity;
    const int64_t to = static_cast<int64_t>(image) * kept.max_det + pose, from = first + kept.indices[to];
    if (k == 0) {
        write_box(people.found.boxes + 4 * from, place, out.boxes + 4 * to);
        out.scores[to] = people.found.scores[from];
        out.class_ids[to] = 0;
    }
    const float* const points = people.points + (first + people.found.anchors[from]) * all.keypoints * 3;
    write_point(points + 3 * k, place, out.keypoints + (to * all.keypoints + k) * 3);
}

unsigned blocks_for(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

/// body(T()) with the type of the outputs' numbers.
template <typename Body>
void with_dtype(const Outputs& all, Body&& body) {
    if (all.dtype == DType::f16) {
        body(__half());
    } else {
        body(float());
    }
}

void clear_counts(int32_t* counts, int batch, void* stream) {
    cuda_check(
        cudaMemsetAsync(counts, 0, static_cast<size_t>(batch) * sizeof(int32_t), static_cast<cudaStream_t>(stream)),
        "clear the counts of people");
}

}  // namespace

void centers_cuda(const Outputs& all, float conf, const People& people, void* stream) {
    const auto batch = static_cast<unsigned>(all.batch);
    if (is_single(all.settings.form)) {
        with_dtype(all, [&](auto type) {
            auto* const kernel = &center_kernel<decltype(type)>;
            TRTPOSE_LAUNCH(kernel, batch, kThreads, 0, stream, all, people);
        });
    } else {
        clear_counts(people.centers.counts, all.batch, stream);
        with_dtype(all, [&](auto type) {
            auto* const kernel = &centers_kernel<decltype(type)>;
            TRTPOSE_LAUNCH(kernel, dim3(blocks_for(all.cells()), batch), kThreads, 0, stream, all, conf, people);
        });
    }
    cuda_check_launch("the centres of people");
}

void keypoints_cuda(const Outputs& all, const People& people, void* stream) {
    const int usual = people.capacity < kUsualPeople ? people.capacity : kUsualPeople;
    const dim3 grid(static_cast<unsigned>(usual * all.keypoints), static_cast<unsigned>(all.batch));
    with_dtype(all, [&](auto type) {
        auto* const kernel = &cells_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, all, people);
    });
    cuda_check_launch("the keypoints of people");
}

void people_cuda(const Outputs& all, float conf, const People& people, void* stream) {
    clear_counts(people.found.counts, all.batch, stream);
    const dim3 grid(blocks_for(people.capacity), static_cast<unsigned>(all.batch));
    with_dtype(all, [&](auto type) {
        auto* const kernel = &people_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, all, conf, people);
    });
    cuda_check_launch("people");
}

void poses_cuda(const Outputs& all, const People& people, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream) {
    const int most = people.capacity < kept.max_det ? people.capacity : kept.max_det;
    const dim3 grid(blocks_for(static_cast<int64_t>(most) * all.keypoints), static_cast<unsigned>(all.batch));
    TRTPOSE_LAUNCH(people_poses_kernel, grid, kThreads, 0, stream, all, people, kept, placements, out);
    cuda_check_launch("poses");
}

}  // namespace trtpose::movenet
