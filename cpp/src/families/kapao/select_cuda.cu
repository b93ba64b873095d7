// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "families/kapao/kernels.hpp"

namespace trtpose::kapao {

template <>
struct Stored<__half> {
    __device__ static float number(__half x) { return __half2float(x); }
};

namespace {

using kernels::kAllLanes;
using kernels::kWarp;

constexpr int kThreads = 128;
// Anchors a thread looks at, all read before the first is judged.
constexpr int kItems = 4;
constexpr int kBlocksPerSm = 8;
// Leaves fusion the registers it needs; there are but some dozen blocks.
constexpr int kFusingBlocksPerSm = 16;

__device__ size_t at(int image, int capacity, int i) {
    return static_cast<size_t>(image) * static_cast<size_t>(capacity) + static_cast<size_t>(i);
}

struct Place {
    int level, anchor, cell;
};

/// Where the anchor with this running number stands.
__device__ Place place_of(const Predictions& all, int number) {
    int l = 0;
    while (l + 1 < all.levels && number >= all.level[l + 1].first_anchor) ++l;
    const int cells = all.level[l].height * all.level[l].width;
    const int local = number - all.level[l].first_anchor;
    const int anchor = local / cells;
    return {l, anchor, local - anchor * cells};
}

template <typename T>
__device__ float read_objectness(const Predictions& all, int image, const Place& place) {
    const ops::HeadLevel& level = all.level[place.level];
    const T* first = static_cast<const T*>(level.data) + image * level.image_step + place.anchor * level.anchor_step +
                     place.cell * level.cell_step;
    return Stored<T>::number(first[kObjectness * level.field_step]);
}

/// One atomic for those of the warp that pass, which takes as many slots.
__device__ void put(const ops::Candidates& out, int image, bool passes, const math::Box& box, const Scored& scored,
                    int anchor, int lane) {
    const unsigned lanes = __ballot_sync(kAllLanes, passes);
    if (lanes == 0) return;
    const int leader = __ffs(static_cast<int>(lanes)) - 1;
    int slot = 0;
    if (lane == leader) slot = atomicAdd(&out.counts[image], __popc(lanes));
    slot = __shfl_sync(kAllLanes, slot, leader) + __popc(lanes & ((1u << lane) - 1));
    if (!passes || slot >= out.capacity) return;
    const size_t to = at(image, out.capacity, slot);
    reinterpret_cast<float4*>(out.boxes)[to] = make_float4(box.x1, box.y1, box.x2, box.y2);
    out.scores[to] = scored.score;
    out.classes[to] = scored.class_id;
    out.anchors[to] = anchor;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    candidates_kernel(const __grid_constant__ Predictions all, const __grid_constant__ Gates gates,
                      const __grid_constant__ CandidateLists out) {
    const int image = static_cast<int>(blockIdx.y);
    const int first = static_cast<int>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    unsigned open = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
        const int number = first + i * kThreads;
        const float value = number < all.total_anchors ? read_objectness<T>(all, image, place_of(all, number)) : NAN;
        open |= value > gates.gate ? 1u << i : 0u;
    }
    // Few anchors get here: what follows is kept small rather than fast.
#pragma unroll 1
    for (int i = 0; i < kItems; ++i) {
        bool passes = open >> i & 1;
        if (!__any_sync(kAllLanes, passes)) continue;
        Scored scored{};
        math::Box box{};
        bool object = false;
        if (passes) {
            const Place place = place_of(all, first + i * kThreads);
            const auto row = read_row<T>(all, all.level[place.level], image, place.anchor, place.cell);
            scored = read_score(row, row(kObjectness), all.keypoints);
            object = scored.class_id > 0 && !gates.together;
            passes = scored.score > (object ? gates.conf_objects : gates.conf) && math::is_finite(scored.score);
            if (passes) {
                box = read_box(all, row);
                passes = is_finite(box);
                box = shifted(box, scored.class_id);
            }
        }
        put(out.people, image, passes && !object, box, scored, first + i * kThreads, lane);
        put(out.objects, image, passes && object, box, scored, first + i * kThreads, lane);
    }
}

/// A thread for each keypoint of each candidate.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    candidate_keypoints_kernel(const __grid_constant__ Predictions all,
                               const __grid_constant__ ops::Candidates candidates, float* keypoints) {
    const int image = static_cast<int>(blockIdx.y);
    const int found = candidates.counts[image];
    const int64_t total =
        static_cast<int64_t>(found < candidates.capacity ? found : candidates.capacity) * all.keypoints;
    const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
        const int candidate = static_cast<int>(i / all.keypoints), k = static_cast<int>(i % all.keypoints);
        const size_t from = at(image, candidates.capacity, candidate);
        const Point point = read_keypoint(all, read_row<T>(all, image, candidates.anchors[from]), k);
        float* to = keypoints + (from * static_cast<size_t>(all.keypoints) + static_cast<size_t>(k)) * 3;
        to[0] = point.x;
        to[1] = point.y;
        to[2] = 1.0f;
    }
}

/// A warp for each image.
__global__ void __launch_bounds__(kWarp)
    divide_kernel(float conf_objects, const __grid_constant__ ops::Candidates candidates,
                  const __grid_constant__ ops::Detections kept, const __grid_constant__ ops::Detections people,
                  const __grid_constant__ ops::Detections objects) {
    const int image = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
    const unsigned lanes_before = (1u << lane) - 1;
    const int count = kept.counts[image];
    int n_people = 0, n_objects = 0;
    for (int begin = 0; begin < count; begin += kWarp) {
        const int i = begin + lane;
        int32_t index = 0;
        bool person = false, object = false;
        if (i < count) {
            index = kept.indices[at(image, kept.max_det, i)];
            const size_t from = at(image, candidates.capacity, index);
            person = candidates.classes[from] == 0;
            object = !person && candidates.scores[from] >= conf_objects;
        }
        const unsigned persons = __ballot_sync(kAllLanes, person), others = __ballot_sync(kAllLanes, object);
        if (person) people.indices[at(image, people.max_det, n_people + __popc(persons & lanes_before))] = index;
        if (object) objects.indices[at(image, objects.max_det, n_objects + __popc(others & lanes_before))] = index;
        n_people += __popc(persons);
        n_objects += __popc(others);
    }
    if (lane == 0) {
        people.counts[image] = n_people;
        objects.counts[image] = n_objects;
    }
}

__device__ size_t candidate_of(const Chosen& chosen, int image, int i) {
    return at(image, chosen.candidates.capacity, chosen.kept.indices[at(image, chosen.kept.max_det, i)]);
}

/// Replace the nearest of the keypoints that this warp's lanes hold, of people lane, lane + 32, …, by an object.
__device__ void replace_nearest(const Points& points, size_t first, int eligible, float x, float y, float score,
                                double tolerance, int lane) {
    const float reach = reach_of(tolerance);
    double nearest = tolerance;
    int best = eligible;
    for (int p = lane; p < eligible; p += kWarp) {
        const size_t from = first + static_cast<size_t>(p);
        if (points.confidence[from] < 0.0f) continue;
        const double distance = distance_below(nearest, reach, points.x[from], points.y[from], x, y);
        if (distance < nearest) {
            nearest = distance;
            best = p;
        }
    }
    if (!__any_sync(kAllLanes, best < eligible)) return;
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const double other = __shfl_xor_sync(kAllLanes, nearest, step);
        const int other_best = __shfl_xor_sync(kAllLanes, best, step);
        if (other < nearest || (other == nearest && other_best < best)) {
            nearest = other;
            best = other_best;
        }
    }
    // Whoever holds it writes it, so that nobody else has to see it.
    const size_t to = first + static_cast<size_t>(best);
    if (best % kWarp != lane || !(score > points.confidence[to])) return;
    points.x[to] = x;
    points.y[to] = y;
    points.confidence[to] = score;
}

/// The objects of class k + 1, best first, 32 looked at together.
template <typename T>
__device__ void fuse_keypoint(const Predictions& all, const Chosen& objects, const WayBack& back, double tolerance,
                              int image, int k, int eligible, const Points& points, size_t first, int lane) {
    const int count = objects.kept.counts[image];
    for (int begin = 0; begin < count; begin += kWarp) {
        const int o = begin + lane;
        float x = 0, y = 0, score = 0;
        bool mine = false;
        if (o < count) {
            const size_t from = candidate_of(objects, image, o);
            mine = objects.candidates.classes[from] == k + 1;
            if (mine) {
                const math::Box box =
                    back.box(read_box(all, read_row<T>(all, image, objects.candidates.anchors[from])));
                x = (box.x1 + box.x2) / 2;
                y = (box.y1 + box.y2) / 2;
                score = objects.candidates.scores[from];
            }
        }
        for (unsigned rest = __ballot_sync(kAllLanes, mine); rest != 0; rest &= rest - 1) {
            const int source = __ffs(static_cast<int>(rest)) - 1;
            replace_nearest(points, first, eligible, __shfl_sync(kAllLanes, x, source),
                            __shfl_sync(kAllLanes, y, source), __shfl_sync(kAllLanes, score, source), tolerance, lane);
        }
    }
}

template <typename T>
__device__ void write_boxes(const Predictions& all, const Chosen& people, const WayBack& back, bool round_boxes,
                            int image, int count, const PosesOut& out, int lane) {
    if (lane == 0) out.counts[image] = count;
    for (int p = lane; p < count; p += kWarp) {
        const size_t from = candidate_of(people, image, p), to = at(image, out.max_det, p);
        math::Box box = back.box(read_box(all, read_row<T>(all, image, people.candidates.anchors[from])));
        if (round_boxes) box = {rintf(box.x1), rintf(box.y1), rintf(box.x2), rintf(box.y2)};
        reinterpret_cast<float4*>(out.arrays.boxes)[to] = make_float4(box.x1, box.y1, box.x2, box.y2);
        out.arrays.scores[to] = people.candidates.scores[from];
        out.arrays.class_ids[to] = 0;
    }
}

/// A warp for each keypoint of each image: no other's objects touch it.
template <typename T>
__global__ void __launch_bounds__(kWarp, kFusingBlocksPerSm)
    fuse_kernel(const __grid_constant__ Predictions all, const __grid_constant__ Chosen people,
                const __grid_constant__ Chosen objects, const math::Letterbox* placements,
                const __grid_constant__ Fusion fusion, const __grid_constant__ Points points,
                const __grid_constant__ PosesOut out) {
    const int k = static_cast<int>(blockIdx.x), image = static_cast<int>(blockIdx.y);
    const int lane = static_cast<int>(threadIdx.x);
    const WayBack back(placements[image]);
    const size_t first = at(image, all.keypoints, k) * static_cast<size_t>(points.people);
    const int count = people.kept.counts[image], written = count < out.max_det ? count : out.max_det;
    if (k == 0) write_boxes<T>(all, people, back, fusion.round_boxes, image, written, out, lane);
    int eligible = 0;  // the best ones, as they come by falling score
    for (int begin = 0; begin < count; begin += kWarp) {
        const int p = begin + lane;
        bool above = false;
        if (p < count) {
            const size_t from = candidate_of(people, image, p), to = first + static_cast<size_t>(p);
            const Point read = read_keypoint(all, read_row<T>(all, image, people.candidates.anchors[from]), k);
            const Point point = back.keypoint(read, k);
            const bool ok = is_finite(read) && is_finite(point);
            points.x[to] = ok ? point.x : 0.0f;
            points.y[to] = ok ? point.y : 0.0f;
            points.confidence[to] = ok ? 0.0f : kMissing;
            above = fusion.on && people.candidates.scores[from] > fusion.person_conf;
        }
        eligible += __popc(__ballot_sync(kAllLanes, above));
    }
    if (eligible > 0) fuse_keypoint<T>(all, objects, back, fusion.tolerance, image, k, eligible, points, first, lane);
    for (int p = lane; p < written; p += kWarp) {
        const size_t from = first + static_cast<size_t>(p);
        const float score = people.candidates.scores[candidate_of(people, image, p)];
        float* to = out.arrays.keypoints +
                    (at(image, out.max_det, p) * static_cast<size_t>(all.keypoints) + static_cast<size_t>(k)) * 3;
        to[0] = points.x[from];
        to[1] = points.y[from];
        to[2] = confidence_of(points.confidence[from], score, fusion.zero_unreplaced);
    }
}

unsigned blocks_for(int64_t threads, int each) { return static_cast<unsigned>((threads + each - 1) / each); }

/// body(T()) with the type of the outputs' numbers.
template <typename Body>
void with_dtype(const Predictions& all, Body&& body) {
    if (all.dtype == DType::f16) {
        body(__half());
    } else {
        body(float());
    }
}

}  // namespace

void candidates_cuda(const Predictions& all, const Gates& gates, const CandidateLists& out, void* stream) {
    if (all.batch == 0) return;
    for (int32_t* counts : {out.people.counts, out.objects.counts})
        cuda_check(cudaMemsetAsync(counts, 0, static_cast<size_t>(all.batch) * sizeof(int32_t),
                                   static_cast<cudaStream_t>(stream)),
                   "clear the counts of candidates");
    const dim3 grid(blocks_for(all.total_anchors, kThreads * kItems), static_cast<unsigned>(all.batch));
    with_dtype(all, [&](auto type) {
        auto* const kernel = &candidates_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, all, gates, out);
    });
    cuda_check_launch("the candidates of KAPAO");
}

void candidate_keypoints_cuda(const Predictions& all, const ops::Candidates& candidates, float* keypoints,
                              void* stream) {
    if (all.batch == 0) return;
    // How many candidates there are is known on the device alone: enough blocks for some thousand, which go on in
    // steps.
    constexpr int64_t kUsual = 4096;
    const int64_t usual = candidates.capacity < kUsual ? candidates.capacity : kUsual;
    const dim3 grid(blocks_for(usual * all.keypoints, kThreads), static_cast<unsigned>(all.batch));
    with_dtype(all, [&](auto type) {
        auto* const kernel = &candidate_keypoints_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kThreads, 0, stream, all, candidates, keypoints);
    });
    cuda_check_launch("the keypoints of KAPAO");
}

void divide_cuda(const Gates& gates, const ops::Candidates& candidates, int batch, const ops::Detections& kept,
                 const ops::Detections& people, const ops::Detections& objects, void* stream) {
    if (batch == 0) return;
    TRTPOSE_LAUNCH(divide_kernel, static_cast<unsigned>(batch), kWarp, 0, stream, gates.conf_objects, candidates, kept,
                   people, objects);
    cuda_check_launch("the division of KAPAO's objects");
}

void fuse_cuda(const Predictions& all, const Chosen& people, const Chosen& objects, const math::Letterbox* placements,
               const Fusion& fusion, const Points& points, const PosesOut& out, void* stream) {
    if (all.batch == 0) return;
    const dim3 grid(static_cast<unsigned>(all.keypoints), static_cast<unsigned>(all.batch));
    with_dtype(all, [&](auto type) {
        auto* const kernel = &fuse_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(kernel, grid, kWarp, 0, stream, all, people, objects, placements, fusion, points, out);
    });
    cuda_check_launch("the fusion of KAPAO");
}

}  // namespace trtpose::kapao
