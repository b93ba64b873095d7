// SPDX-License-Identifier: Apache-2.0
// From joints to people, and from people to results.
#pragma once

#include "families/openpose/limbs.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose::openpose {

/// A pose as it grows.
struct Body {
    float score;    ///< of its keypoints and limbs, summed
    int32_t count;  ///< keypoints, without those that were filled in; 0: it went into another
};

inline constexpr int kLeastKeypoints = 3;
inline constexpr float kLeastMean = 0.2f;
inline constexpr float kNobody = -1.0f;

/// A pose's score for the outside, 0 to 1: the geometric mean of what its sum is of the greatest sum and what its
/// keypoints are of all, so that poses come in the order of the reference's COCO score, sum × (count - 1). kNobody
/// where the reference drops the pose.
TRTPOSE_HD float final_score(const Topology& topology, const Body& body) {
    const float count = static_cast<float>(body.count);
    if (body.count < kLeastKeypoints || body.score / count < kLeastMean) return kNobody;
    const float most = static_cast<float>((topology.maps + topology.limbs - topology.filling) * (topology.maps - 1));
    const float score = sqrtf(body.score * (count - 1.0f) / most);
    return score < 1.0f ? score : 1.0f;
}

/// Where an enlarged pixel lies in the frame. A map's cell is `stride` input pixels, and its middle is their middle;
/// the reference takes their upper left instead and cuts the result to a whole number.
struct ToFrame {
    double scale_x, scale_y;  ///< frame pixels per input pixel, or for the reference their inverse
    float left, top;
    float step;  ///< input pixels per enlarged pixel
    bool reference;

    TRTPOSE_HD ToFrame(const math::Letterbox& place, const Topology& topology, int stride)
        : scale_x(place.scale_x()),
          scale_y(place.scale_y()),
          left(static_cast<float>(place.left)),
          top(static_cast<float>(place.top)),
          step(static_cast<float>(stride) / static_cast<float>(topology.factor)),
          reference(topology.reference) {
        // It divides by the factor by which the height was scaled, in double precision.
        if (reference) scale_x = scale_y = static_cast<double>(place.dst_height) / place.src_height;
    }

    TRTPOSE_HD float x(float at) const { return map(at, left, scale_x); }
    TRTPOSE_HD float y(float at) const { return map(at, top, scale_y); }

private:
    TRTPOSE_HD float map(float at, float first, double scale) const {
        if (reference) return static_cast<float>(static_cast<int>((static_cast<double>(at) * step - first) / scale));
        return ((at + 0.5f) * step - first) * static_cast<float>(scale);
    }
};

TRTPOSE_HD float cut(float x, float most) { return x < 0.0f ? 0.0f : most < x ? most : x; }

/// One image's poses and its peaks, for those who write them down.
struct Bodies {
    const Topology& topology;
    const int16_t* ids;  ///< of each pose, for each map the peak's number or -1
    const Peak* peaks;   ///< lists of all maps, `most_peaks` each
    int most_peaks;

    TRTPOSE_HD const int16_t* of(int body) const { return ids + static_cast<int64_t>(body) * topology.maps; }
    TRTPOSE_HD const Peak& peak(int map, int number) const { return peaks[map * most_peaks + number]; }
};

/// All of a pose but its keypoints, to place `to`.
TRTPOSE_HD void write_box(const Bodies& bodies, int body, const ToFrame& frame, const math::Letterbox& place,
                          float score, int64_t to, const ops::PoseArrays& out) {
    const bool reference = bodies.topology.reference;
    const int16_t* const ids = bodies.of(body);
    math::Box box{INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (int m = 0; m < bodies.topology.maps; ++m) {
        if (ids[m] < 0) continue;
        const Peak& peak = bodies.peak(m, ids[m]);
        const float x = frame.x(peak.x), y = frame.y(peak.y);
        if (reference && x == -1.0f) continue;  // that means "not there" to it
        box = {math::min_of(box.x1, x), math::min_of(box.y1, y), math::max_of(box.x2, x), math::max_of(box.y2, y)};
    }
    // The reference's boxes are whole pixels, the last ones included.
    const float last = reference ? 1.0f : 0.0f;
    const float right = static_cast<float>(place.src_width), bottom = static_cast<float>(place.src_height);
    out.boxes[to * 4] = cut(box.x1, right);
    out.boxes[to * 4 + 1] = cut(box.y1, bottom);
    out.boxes[to * 4 + 2] = cut(box.x2 + last, right);
    out.boxes[to * 4 + 3] = cut(box.y2 + last, bottom);
    out.scores[to] = score;
    out.class_ids[to] = 0;
}

/// Keypoint k of a pose, to place `to`.
TRTPOSE_HD void write_keypoint(const Bodies& bodies, int body, int k, const ToFrame& frame, int64_t to,
                               const ops::PoseArrays& out) {
    float* const point = out.keypoints + (to * bodies.topology.keypoints + k) * 3;
    const int map = bodies.topology.map_of[k], number = bodies.of(body)[map];
    const bool there = number >= 0;
    const Peak peak = there ? bodies.peak(map, number) : Peak{};
    point[0] = there ? frame.x(peak.x) : 0.0f;
    point[1] = there ? frame.y(peak.y) : 0.0f;
    point[2] = math::min_of(peak.score, 1.0f);
}

}  // namespace trtpose::openpose
