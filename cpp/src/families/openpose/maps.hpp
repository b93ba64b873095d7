// SPDX-License-Identifier: Apache-2.0
// A network's maps, as if they were enlarged by bicubic interpolation (Keys, 1981; a = -0.75 as in OpenCV): pixel
// centres stay in place, the border is repeated. No enlarged map is stored on a GPU, and fields are never enlarged as
// a whole: both twins compute single points in the same order of operations.
#pragma once

#include <cstdint>

#include "families/openpose/topology.hpp"
#include "trtpose/math/head.hpp"
#include "trtpose/math/host_device.hpp"

namespace trtpose::openpose {

TRTPOSE_HD float to_float(float x) { return x; }

/// Height, width and enlargement of all maps of a network.
struct Grid {
    int height = 0, width = 0;         ///< cells
    int factor = 1, shift = 0;         ///< 2^shift
    float weight[kMaxFactor][4] = {};  ///< of four neighbouring cells, for each place within a cell

    TRTPOSE_HD int rows() const { return height * factor; }
    TRTPOSE_HD int columns() const { return width * factor; }
    TRTPOSE_HD int cells() const { return height * width; }
    /// The second of the four cells that enlarged pixel `at` is made of.
    TRTPOSE_HD int cell(int at) const { return (at >> shift) - (2 * place(at) + 1 < factor ? 1 : 0); }
    /// Its place within the cell it lies in, from 0 on.
    TRTPOSE_HD int place(int at) const { return at & (factor - 1); }
};

/// With the weights of Keys' kernel. They are exact: its arguments are multiples of 1/16 at most.
Grid make_grid(int height, int width, int factor);

TRTPOSE_HD int clamp_to(int x, int most) { return x < 0 ? 0 : x > most ? most : x; }

/// Four values by their weights, the outer ones first: what is the same mirrored stays the same.
TRTPOSE_HD float weigh(const float* w, float a, float b, float c, float d) {
    return (w[0] * a + w[3] * d) + (w[1] * b + w[2] * c);
}

/// One row of a plane at enlarged column x.
template <typename T>
TRTPOSE_HD float along_row(const Grid& grid, const T* row, int x) {
    const int c = grid.cell(x), last = grid.width - 1;
    return weigh(grid.weight[grid.place(x)], to_float(row[clamp_to(c - 1, last)]), to_float(row[clamp_to(c, last)]),
                 to_float(row[clamp_to(c + 1, last)]), to_float(row[clamp_to(c + 2, last)]));
}

/// The enlarged plane at (x, y), which lie within it.
template <typename T>
TRTPOSE_HD float enlarged(const Grid& grid, const T* plane, int x, int y) {
    if (grid.factor == 1) return to_float(plane[y * grid.width + x]);
    const int c = grid.cell(y), last = grid.height - 1;
    float part[4];
    for (int i = 0; i < 4; ++i) part[i] = along_row(grid, plane + clamp_to(c - 1 + i, last) * grid.width, x);
    return weigh(grid.weight[grid.place(y)], part[0], part[1], part[2], part[3]);
}

}  // namespace trtpose::openpose
