// SPDX-License-Identifier: Apache-2.0
// Convolutions one behind the other, computed for some cells of a map alone.
#pragma once

#include <cstdint>
#include <vector>

#include "trtpose/types.hpp"

namespace trtpose::openvino {

/// A convolution of step 1 over side × side cells whose map keeps its size: what lies outside is zero.
struct CellLayer {
    int inputs = 0, outputs = 0, side = 1;
    bool silu = false;               ///< x·sigmoid(x) of what comes out
    const float* weights = nullptr;  ///< as packed_weights() has them
    const float* bias = nullptr;     ///< of each output

    /// Multiplications for a cell.
    int64_t cost() const { return int64_t{1} * side * side * inputs * outputs; }
};

/// Weights of outputs × inputs × side × side in the order in which they are multiplied: by sixteen outputs, the last
/// filled up with zeros, then by place, input and output.
std::vector<float> packed_weights(const float* weights, const CellLayer& layer);

/// How many numbers that are.
size_t packed_count(const CellLayer& layer);

/// The cells of a map that each layer must be computed for, so that the last one is known for some: those of the last
/// layer at the end. `wanted`: cells, each once.
std::vector<std::vector<int32_t>> needed_cells(Span<const int> sides, std::vector<int32_t> wanted, Size map);

/// The layers' answer for some cells: of `input`, inputs × height × width, into `output`, outputs × height × width,
/// of which other cells are left as they are. Sums are taken in another order than a whole convolution may. Without
/// `simd` as a processor without AVX2 does it.
void compute_cells(Span<const CellLayer> layers, const float* input, Size map, const std::vector<int32_t>& wanted,
                   float* output, bool simd = true);

}  // namespace trtpose::openvino
