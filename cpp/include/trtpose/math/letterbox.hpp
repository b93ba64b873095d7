// SPDX-License-Identifier: Apache-2.0
// Geometry of the letterbox and the coefficients of OpenCV's 8-bit bilinear resize.
#pragma once

#include <cmath>
#include <cstdint>

#include "trtpose/math/host_device.hpp"

namespace trtpose::math {

/// Where the scaled frame lies in the input: in the middle, or with the border on the right and below alone.
enum class Placement : uint8_t { center, top_left };
/// What becomes of the fraction of a pixel of a scaled side: half to even as Python's round() does, or cut off.
enum class Rounding : uint8_t { nearest, down };
/// What decides the scale: the side that fills its input first, or the height alone, for both axes (an input that is
/// not as wide as that makes the frame is filled by its width after all), or each side for itself, so that no border is
/// left.
enum class Sizing : uint8_t { fit, height, stretch };

/// How a network wants its frames brought to its input.
struct LetterboxForm {
    Placement placement = Placement::center;
    Rounding rounding = Rounding::nearest;
    Sizing sizing = Sizing::fit;

    bool operator==(const LetterboxForm& o) const {
        return placement == o.placement && rounding == o.rounding && sizing == o.sizing;
    }
    bool operator!=(const LetterboxForm& o) const { return !(*this == o); }
};

/// Where a frame lies in the network's input. All in pixels.
struct Letterbox {
    int src_width, src_height;  ///< the frame
    int dst_width, dst_height;  ///< the network's input
    int width, height;          ///< the scaled frame inside it
    int left, top;              ///< its first column and row
    bool by_height;             ///< both axes are scaled by the height's factor, whatever the width was rounded to

    /// Input pixels to frame pixels: the exact inverse, each axis by its own rounded factor.
    TRTPOSE_HD float scale_x() const {
        return by_height ? scale_y() : static_cast<float>(src_width) / static_cast<float>(width);
    }
    TRTPOSE_HD float scale_y() const {
        return static_cast<float>(src_height) / static_cast<float>(by_height ? dst_height : height);
    }

    bool operator==(const Letterbox& o) const {
        return src_width == o.src_width && src_height == o.src_height && dst_width == o.dst_width &&
               dst_height == o.dst_height && width == o.width && height == o.height && left == o.left && top == o.top &&
               by_height == o.by_height;
    }
    bool operator!=(const Letterbox& o) const { return !(*this == o); }
};

/// Pixels of a side times a scale, at least one and no more than an int is sure to hold.
inline int scaled_side(int side, double scale, Rounding rounding) {
    constexpr int kMost = 1 << 30;
    const double pixels = side * scale;
    const double whole = rounding == Rounding::down ? std::floor(pixels) : std::nearbyint(pixels);
    return whole < 1 ? 1 : whole > kMost ? kMost : static_cast<int>(whole);
}

/// Scale and place a frame; a border that cannot be halved is one wider on the right and below.
inline Letterbox letterbox(int src_width, int src_height, int dst_width, int dst_height, LetterboxForm form = {}) {
    const double by_height = static_cast<double>(dst_height) / src_height;
    const double by_width = static_cast<double>(dst_width) / src_width;
    const bool wide_enough =
        form.sizing == Sizing::height && scaled_side(src_width, by_height, form.rounding) <= dst_width;
    const double r = by_height < by_width || wide_enough ? by_height : by_width;
    const auto fit = [&](int side, int limit) {
        const int scaled = scaled_side(side, r, form.rounding);
        return scaled > limit ? limit : scaled;
    };
    Letterbox box{src_width, src_height, dst_width, dst_height, dst_width, dst_height, 0, 0, false};
    if (form.sizing == Sizing::stretch) return box;
    // A frame less than half a pixel wide is stretched to one.
    box.by_height = wide_enough && src_width * by_height > 0.5;
    box.width = fit(src_width, dst_width);
    box.height = fit(src_height, dst_height);
    if (form.placement == Placement::top_left) return box;
    box.left = static_cast<int>(std::nearbyint((dst_width - box.width) / 2.0 - 0.1));
    box.top = static_cast<int>(std::nearbyint((dst_height - box.height) / 2.0 - 0.1));
    return box;
}

/// Two neighbouring samples of one axis and their weights in 1/2048.
struct Tap {
    int index;  ///< of the first sample; the second is index + 1, read only if its weight is not 0
    int c0, c1;
};

/// Samples of the source per sample of the result, rounded the way OpenCV rounds it.
TRTPOSE_HD double resize_scale(int dst, int src) { return 1.0 / (static_cast<double>(dst) / src); }

/// The same of a frame's columns and of its rows, as OpenCV resizes to a size or, by the height alone, by a factor.
inline double column_scale(const Letterbox& box) {
    return box.by_height ? resize_scale(box.dst_height, box.src_height) : resize_scale(box.width, box.src_width);
}
inline double row_scale(const Letterbox& box) {
    return resize_scale(box.by_height ? box.dst_height : box.height, box.src_height);
}

/// Weights of cv2.resize(INTER_LINEAR) for 8-bit data: the coordinate in double, the fraction in float, weights rounded
/// half to even to 11 bits. `clamp` moves samples outside onto the edge before the weights are made, as OpenCV does for
/// columns; for rows it keeps the weights and clamps the row numbers instead.
/// `scale` comes from resize_scale.
TRTPOSE_HD Tap resize_tap(int d, double scale, int src, bool clamp) {
    float f = static_cast<float>((d + 0.5) * scale - 0.5);
    int s = static_cast<int>(floorf(f));
    f -= static_cast<float>(s);
    if (clamp && s < 0) {
        s = 0;
        f = 0.0f;
    }
    if (clamp && s >= src - 1) {
        s = src - 1;
        f = 0.0f;
    }
    return {s, static_cast<int>(rintf((1.0f - f) * 2048.0f)), static_cast<int>(rintf(f * 2048.0f))};
}

/// One row's horizontal sum of two bytes, scaled to fit 16 bits for the vertical step.
TRTPOSE_HD int resize_row(int p0, int p1, int c0, int c1) { return (p0 * c0 + p1 * c1) >> 4; }

/// The vertical step: two resize_row results to a byte.
TRTPOSE_HD int resize_column(int h0, int h1, int b0, int b1) {
    return (((b0 * h0) >> 16) + ((b1 * h1) >> 16) + 2) >> 2;
}

}  // namespace trtpose::math
