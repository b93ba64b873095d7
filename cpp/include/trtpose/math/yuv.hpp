// SPDX-License-Identifier: Apache-2.0
// Video pixels (Y, U, V bytes) to red, green and blue bytes, in 20-bit fixed point.
#pragma once

#include <cstdint>

#include "trtpose/math/host_device.hpp"

namespace trtpose::math {

/// r = ((y - y_offset)·y_scale + v_red·(v - 128)) / 2^20, rounded and cut to a byte; green and blue alike.
struct YuvMatrix {
    int32_t y_offset, y_scale, v_red, u_green, v_green, u_blue;
};

/// BT.601 with limited range: the numbers of cv2.cvtColor(COLOR_YUV2RGB_NV12), so that the bytes are the same.
inline constexpr YuvMatrix kBt601Limited{16, 1220542, 1673527, -409993, -852492, 2116026};

/// The matrix of a standard that gives red and blue the weights kr and kb in luma (ITU-R BT.601: 0.299 and 0.114,
/// BT.709: 0.2126 and 0.0722), for bytes of limited (16 to 235, 16 to 240) or full range.
constexpr YuvMatrix yuv_matrix(double kr, double kb, bool full_range) {
    const double one = 1 << 20, luma = full_range ? one : one * 255 / 219, chroma = full_range ? one : one * 255 / 224;
    const double kg = 1 - kr - kb;
    const auto round = [](double x) { return static_cast<int32_t>(x < 0 ? x - 0.5 : x + 0.5); };
    return {full_range ? 0 : 16,
            round(luma),
            round(2 * (1 - kr) * chroma),
            round(-2 * (1 - kb) * kb / kg * chroma),
            round(-2 * (1 - kr) * kr / kg * chroma),
            round(2 * (1 - kb) * chroma)};
}

inline constexpr YuvMatrix kBt601Full = yuv_matrix(0.299, 0.114, true);
inline constexpr YuvMatrix kBt709Limited = yuv_matrix(0.2126, 0.0722, false);
inline constexpr YuvMatrix kBt709Full = yuv_matrix(0.2126, 0.0722, true);

TRTPOSE_HD int byte_of(int32_t fixed) {
    const int value = fixed >> 20;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/// out[0..2]: red, green, blue.
TRTPOSE_HD void yuv_to_rgb(const YuvMatrix& m, int y, int u, int v, int* out) {
    const int32_t half = 1 << 19;
    const int32_t above = y > m.y_offset ? y - m.y_offset : 0;
    const int32_t luma = above * m.y_scale + half;
    u -= 128;
    v -= 128;
    out[0] = byte_of(luma + m.v_red * v);
    out[1] = byte_of(luma + m.u_green * u + m.v_green * v);
    out[2] = byte_of(luma + m.u_blue * u);
}

}  // namespace trtpose::math
