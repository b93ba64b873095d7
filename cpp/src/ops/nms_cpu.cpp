// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "core/buffer.hpp"
#include "core/thread_pool.hpp"
#include "ops/nms_kernels.hpp"
#include "trtpose/math/box.hpp"

namespace trtpose::kernels {
namespace {

struct Ranked {
    uint64_t key;  ///< falling score, then rising anchor, as one ascending number
    int32_t index;
};

/// Scores are positive, so their bits order as they do.
uint64_t rank_key(float score, int32_t anchor) {
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof(bits));
    return static_cast<uint64_t>(~bits) << 32 | static_cast<uint32_t>(anchor);
}

/// Kept boxes as columns, which the compiler compares several at a time.
struct Scratch {
    Ranked* ranked;
    float *x1, *y1, *x2, *y2, *area;
    int32_t* class_id;

    static Scratch of(Planner& plan, int capacity, int max_det) {
        const auto n = static_cast<size_t>(max_det);
        return {plan.take<Ranked>(static_cast<size_t>(capacity)),
                plan.take<float>(n),
                plan.take<float>(n),
                plan.take<float>(n),
                plan.take<float>(n),
                plan.take<float>(n),
                plan.take<int32_t>(n)};
    }
};

__attribute__((always_inline)) inline bool overlaps_body(const Scratch& kept, int begin, int end, const math::Box& box,
                                                         float area, int32_t class_id, bool agnostic, float threshold) {
    int any = 0;
    for (int i = begin; i < end; ++i) {
        const math::Box other{kept.x1[i], kept.y1[i], kept.x2[i], kept.y2[i]};
        any |= (math::iou(other, kept.area[i], box, area) > threshold) & (agnostic | (kept.class_id[i] == class_id));
    }
    return any != 0;
}

bool overlaps(const Scratch& kept, int begin, int end, const math::Box& box, float area, int32_t class_id,
              bool agnostic, float threshold) {
    return overlaps_body(kept, begin, end, box, area, class_id, agnostic, threshold);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) bool overlaps_avx2(const Scratch& kept, int begin, int end, const math::Box& box,
                                                   float area, int32_t class_id, bool agnostic, float threshold) {
    return overlaps_body(kept, begin, end, box, area, class_id, agnostic, threshold);
}
#endif

auto* pick_overlaps() {
#if defined(__x86_64__)
    static const bool avx2 = __builtin_cpu_supports("avx2");
    if (avx2) return &overlaps_avx2;
#endif
    return &overlaps;
}

}  // namespace

size_t nms_cpu_scratch(int batch, int capacity, int max_det) {
    Planner plan;
    Scratch::of(plan, capacity, max_det);
    return plan.used() * static_cast<size_t>(batch);
}

void nms_cpu(const ops::NmsParams& params, const ops::Candidates& candidates, int batch, const float* keypoints,
             const float* sigmas, int keypoint_count, const ops::Detections& kept, void* scratch, ThreadPool* threads) {
    const size_t each = nms_cpu_scratch(1, candidates.capacity, kept.max_det);
    auto* const overlaps_any = pick_overlaps();
    // Far kept boxes seldom overlap: asking in short runs stops early without giving up several comparisons at a time.
    constexpr int kRun = 32;

    parallel_for(threads, batch, [&](int image) {
        Planner plan(static_cast<char*>(scratch) + static_cast<size_t>(image) * each);
        const Scratch s = Scratch::of(plan, candidates.capacity, kept.max_det);
        const size_t first = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity);
        const float* boxes = candidates.boxes + 4 * first;
        const float* scores = candidates.scores + first;
        const int32_t* classes = candidates.classes + first;
        const int32_t* anchors = candidates.anchors + first;
        const size_t pose_length = static_cast<size_t>(keypoint_count) * 3;
        int32_t* out = kept.indices + static_cast<size_t>(image) * static_cast<size_t>(kept.max_det);

        const int total = std::min(candidates.counts[image], candidates.capacity);
        for (int i = 0; i < total; ++i) s.ranked[i] = {rank_key(scores[i], anchors[i]), i};
        const auto by_key = [](const Ranked& a, const Ranked& b) { return a.key < b.key; };
        const int considered = std::min(total, params.max_nms);
        if (considered < total) std::nth_element(s.ranked, s.ranked + considered, s.ranked + total, by_key);
        std::sort(s.ranked, s.ranked + considered, by_key);

        int count = 0;
        for (int i = 0; i < considered && count < kept.max_det; ++i) {
            const int32_t index = s.ranked[i].index;
            const math::Box box{boxes[4 * index], boxes[4 * index + 1], boxes[4 * index + 2], boxes[4 * index + 3]};
            const float area = math::area(box);
            bool suppressed = false;
            if (params.suppress && params.similarity == ops::Similarity::iou) {
                for (int begin = 0; begin < count && !suppressed; begin += kRun)
                    suppressed = overlaps_any(s, begin, std::min(begin + kRun, count), box, area, classes[index],
                                              params.agnostic, params.threshold);
            } else if (params.suppress) {
                const float* pose = keypoints + (first + static_cast<size_t>(index)) * pose_length;
                for (int j = 0; j < count && !suppressed; ++j) {
                    if (!params.agnostic && s.class_id[j] != classes[index]) continue;
                    const float* better = keypoints + (first + static_cast<size_t>(out[j])) * pose_length;
                    suppressed = math::oks(better, pose, keypoint_count, 3, sigmas, s.area[j]) > params.threshold;
                }
            }
            if (suppressed) continue;
            s.x1[count] = box.x1;
            s.y1[count] = box.y1;
            s.x2[count] = box.x2;
            s.y2[count] = box.y2;
            s.area[count] = area;
            s.class_id[count] = classes[index];
            out[count++] = index;
        }
        kept.counts[image] = count;
    });
}

}  // namespace trtpose::kernels
