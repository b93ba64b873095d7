// SPDX-License-Identifier: Apache-2.0
// The conventions of docs/conventions.md written a second time, in double precision and without regard to speed, so
// that a kernel is not compared with itself.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "trtpose/model_spec.hpp"
#include "trtpose/views.hpp"

namespace trtpose::test {

/// The outputs of one run of a network.
struct NetworkOutputs {
    std::vector<std::vector<int64_t>> shapes;
    std::vector<std::vector<float>> data;
};

/// What an anchor says, in input pixels.
struct ReferenceAnchor {
    double objectness = 1, score = 0;
    int class_id = 0;
    std::array<double, 4> box{};  ///< x1, y1, x2, y2
    std::vector<double> keypoints;
};

/// Every anchor of every image of raw heads (layouts heads and heads5d), in the order of the anchors' running numbers.
std::vector<std::vector<ReferenceAnchor>> decode_reference(const ModelSpec& spec, const NetworkOutputs& outputs,
                                                           Size input);

/// A candidate as NMS sees it.
struct ReferenceCandidate {
    std::array<float, 4> box{};
    float score = 0;
    int class_id = 0;
    int anchor = 0;
    std::vector<float> keypoints;  ///< K × 3; empty where IoU is meant
};

double iou_reference(const ReferenceCandidate& a, const ReferenceCandidate& b);

/// Object keypoint similarity as cocodataset.org defines it, with the better candidate's box as the area.
double oks_reference(const ReferenceCandidate& better, const ReferenceCandidate& other,
                     const std::vector<float>& sigmas);

/// Positions of what greedy suppression keeps, best first. `closest`, if not null, receives how near a similarity came
/// to the threshold: below the rounding of float32 the answer is nobody's fault.
std::vector<int> nms_reference(const std::vector<ReferenceCandidate>& candidates, const ops::NmsParams& params,
                               const std::vector<float>& sigmas, double* closest = nullptr);

/// A picture with rows `stride` bytes apart; negative: the last row comes first in memory.
struct ReferenceFrame {
    std::vector<uint8_t> bytes;
    int width = 0, height = 0;
    ptrdiff_t stride = 0;
    PixelFormat format = PixelFormat::bgr;

    size_t first() const {  ///< offset of the first row
        return stride < 0 ? static_cast<size_t>(-stride) * static_cast<size_t>(height - 1) : 0;
    }
    uint8_t at(int y, int x, int c) const {
        return bytes[static_cast<size_t>(static_cast<ptrdiff_t>(first()) + y * stride + 3 * x + c)];
    }
};

/// Random bytes, rows `padding` bytes longer than their pixels; `upside_down`: with a negative stride.
ReferenceFrame random_frame(std::mt19937& random, int width, int height, int padding = 0, bool upside_down = false);

/// What a frame becomes: `height` × `width` × 3 bytes in the order of the frame, resized as OpenCV resizes 8-bit
/// pictures bilinearly, inside a border of `pad`.
std::vector<uint8_t> letterbox_reference(const ReferenceFrame& frame, Size size, int pad,
                                         math::LetterboxForm form = {});

/// Seed of a test, printed where one fails; another one is taken from TRTPOSE_SEED.
unsigned seed();

}  // namespace trtpose::test
