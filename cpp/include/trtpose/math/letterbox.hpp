// SPDX-License-Identifier: Apache-2.0
// Geometry of the letterbox and the coefficients of OpenCV's 8-bit bilinear resize.
#pragma once

#include <cmath>
#include <cstdint>

#include "trtpose/math/host_device.hpp"

namespace trtpose::math {

/// Where a frame lies in the network's input. All in pixels.
struct Letterbox {
    int src_width, src_height;  ///< the frame
    int dst_width, dst_height;  ///< the network's input
    int width, height;          ///< the scaled frame inside it
    int left, top;              ///< its first column and row

    /// Input pixels to frame pixels: the exact inverse, each axis by its own rounded factor.
    TRTPOSE_HD float scale_x() const { return static_cast<float>(src_width) / static_cast<float>(width); }
    TRTPOSE_HD float scale_y() const { return static_cast<float>(src_height) / static_cast<float>(height); }
};

/// Scale to fit and centre, rounding as Python's round() does (half to even); a border that cannot be halved is one
/// wider on the right and below.
inline Letterbox letterbox(int src_width, int src_height, int dst_width, int dst_height) {
    const double by_height = static_cast<double>(dst_height) / src_height;
    const double by_width = static_cast<double>(dst_width) / src_width;
    const double r = by_height < by_width ? by_height : by_width;
    const auto fit = [](double side, int limit) {
        const int rounded = static_cast<int>(std::nearbyint(side));
        return rounded < 1 ? 1 : rounded > limit ? limit : rounded;
    };
    Letterbox box{src_width, src_height, dst_width, dst_height, 0, 0, 0, 0};
    box.width = fit(src_width * r, dst_width);
    box.height = fit(src_height * r, dst_height);
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

TRTPOSE_HD Tap resize_tap(int d, int dst, int src, bool clamp) {
    return resize_tap(d, resize_scale(dst, src), src, clamp);
}

/// One row's horizontal sum of two bytes, scaled to fit 16 bits for the vertical step.
TRTPOSE_HD int resize_row(int p0, int p1, int c0, int c1) { return (p0 * c0 + p1 * c1) >> 4; }

/// The vertical step: two resize_row results to a byte.
TRTPOSE_HD int resize_column(int h0, int h1, int b0, int b1) {
    return (((b0 * h0) >> 16) + ((b1 * h1) >> 16) + 2) >> 2;
}

}  // namespace trtpose::math
