// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/cell_layers.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trtpose::openvino {
namespace {

constexpr int kPanel = 16;  ///< outputs that are computed at once
constexpr int kRows = 6;    ///< cells that are computed at once: with a panel's sums they fill the registers

int panels_of(int outputs) { return (outputs + kPanel - 1) / kPanel; }

/// Sums of `rows` cells and a panel of outputs: `values` has `count` numbers of each cell.
void multiply_plainly(const float* values, int rows, int count, const float* weights, float* sums) {
    std::fill_n(sums, rows * kPanel, 0.0f);
    for (int k = 0; k < count; ++k, weights += kPanel) {
        for (int r = 0; r < rows; ++r) {
            const float value = values[static_cast<ptrdiff_t>(r) * count + k];
            for (int o = 0; o < kPanel; ++o) sums[r * kPanel + o] += value * weights[o];
        }
    }
}

#if defined(__x86_64__)
template <int kCount>
__attribute__((target("avx2,fma"))) void multiply_rows(const float* values, int count, const float* weights,
                                                       float* sums) {
    // Unrolled early, or the sums are written to memory at every step.
    __m256 low[kCount], high[kCount];
#pragma GCC unroll 8
    for (int r = 0; r < kCount; ++r) low[r] = high[r] = _mm256_setzero_ps();
    for (int k = 0; k < count; ++k, weights += kPanel) {
        const __m256 first = _mm256_loadu_ps(weights), second = _mm256_loadu_ps(weights + kPanel / 2);
#pragma GCC unroll 8
        for (int r = 0; r < kCount; ++r) {
            const __m256 value = _mm256_broadcast_ss(values + static_cast<ptrdiff_t>(r) * count + k);
            low[r] = _mm256_fmadd_ps(value, first, low[r]);
            high[r] = _mm256_fmadd_ps(value, second, high[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kCount; ++r) {
        _mm256_storeu_ps(sums + r * kPanel, low[r]);
        _mm256_storeu_ps(sums + r * kPanel + kPanel / 2, high[r]);
    }
}

__attribute__((target("avx2,fma"))) void multiply_avx2(const float* values, int rows, int count, const float* weights,
                                                       float* sums) {
    switch (rows) {
        case 1: return multiply_rows<1>(values, count, weights, sums);
        case 2: return multiply_rows<2>(values, count, weights, sums);
        case 3: return multiply_rows<3>(values, count, weights, sums);
        case 4: return multiply_rows<4>(values, count, weights, sums);
        case 5: return multiply_rows<5>(values, count, weights, sums);
        default: return multiply_rows<kRows>(values, count, weights, sums);
    }
}

#endif

auto* multiplier(bool simd) {
#if defined(__x86_64__)
    static const bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (simd && can) return &multiply_avx2;
#endif
    static_cast<void>(simd);
    return &multiply_plainly;
}

/// Numbers of some cells of a map, cell after cell.
struct Cells {
    std::vector<int32_t> place;  ///< of each cell of the map among them; -1: it is not
    std::vector<float> values;
    int each = 0;

    Cells(const std::vector<int32_t>& cells, int map_cells, int each_in)
        : place(static_cast<size_t>(map_cells), -1),
          values(cells.size() * static_cast<size_t>(each_in)),
          each(each_in) {
        for (size_t i = 0; i < cells.size(); ++i) place[static_cast<size_t>(cells[i])] = static_cast<int32_t>(i);
    }
    float* at(size_t i) { return values.data() + i * static_cast<size_t>(each); }
};

/// What a layer multiplies for a cell: the numbers of the cells around it, zeros outside of the map.
void gather(const Cells& from, const CellLayer& layer, int32_t cell, Size map, float* to) {
    const int reach = layer.side / 2, x = cell % map.width, y = cell / map.width;
    const auto each = static_cast<size_t>(from.each);
    for (int dy = -reach; dy <= reach; ++dy) {
        for (int dx = -reach; dx <= reach; ++dx, to += each) {
            const bool inside = y + dy >= 0 && y + dy < map.height && x + dx >= 0 && x + dx < map.width;
            if (!inside) {
                std::fill_n(to, each, 0.0f);
                continue;
            }
            const auto place = static_cast<size_t>(from.place[static_cast<size_t>(cell + dy * map.width + dx)]);
            std::memcpy(to, from.values.data() + place * each, each * sizeof(float));
        }
    }
}

void run_layer(const CellLayer& layer, const Cells& from, const std::vector<int32_t>& cells, Size map, bool simd,
               Cells& to) {
    const auto multiply = multiplier(simd);
    const int count = layer.side * layer.side * layer.inputs;
    std::vector<float> values(static_cast<size_t>(kRows) * static_cast<size_t>(count));
    float sums[kRows * kPanel];
    for (size_t first = 0; first < cells.size(); first += kRows) {
        const int rows = static_cast<int>(std::min<size_t>(kRows, cells.size() - first));
        for (int r = 0; r < rows; ++r)
            gather(from, layer, cells[first + static_cast<size_t>(r)], map,
                   values.data() + static_cast<ptrdiff_t>(r) * count);
        for (int panel = 0; panel < panels_of(layer.outputs); ++panel) {
            multiply(values.data(), rows, count, layer.weights + static_cast<ptrdiff_t>(panel) * count * kPanel, sums);
            const int begin = panel * kPanel, outputs = std::min(kPanel, layer.outputs - begin);
            for (int r = 0; r < rows; ++r) {
                float* const out = to.at(first + static_cast<size_t>(r)) + begin;
                for (int o = 0; o < outputs; ++o) {
                    const float sum = sums[r * kPanel + o] + layer.bias[begin + o];
                    out[o] = layer.silu ? sum / (1.0f + std::exp(-sum)) : sum;
                }
            }
        }
    }
}

}  // namespace

size_t packed_count(const CellLayer& layer) {
    const size_t count = static_cast<size_t>(layer.side) * static_cast<size_t>(layer.side);
    return count * static_cast<size_t>(layer.inputs) * static_cast<size_t>(panels_of(layer.outputs)) * kPanel;
}

std::vector<float> packed_weights(const float* weights, const CellLayer& layer) {
    const int places = layer.side * layer.side, count = places * layer.inputs;
    std::vector<float> packed(packed_count(layer));
    for (int o = 0; o < layer.outputs; ++o) {
        float* const panel = packed.data() + static_cast<ptrdiff_t>(o / kPanel) * count * kPanel + o % kPanel;
        for (int i = 0; i < layer.inputs; ++i) {
            for (int place = 0; place < places; ++place) panel[(place * layer.inputs + i) * kPanel] = *weights++;
        }
    }
    return packed;
}

std::vector<std::vector<int32_t>> needed_cells(Span<const int> sides, std::vector<int32_t> wanted, Size map) {
    std::vector<std::vector<int32_t>> out(sides.size());
    std::vector<char> taken;
    for (size_t layer = sides.size(); layer-- > 0;) {
        out[layer] = wanted;
        const int reach = sides[layer] / 2;
        if (reach == 0 || layer == 0) continue;
        taken.assign(static_cast<size_t>(map.width) * static_cast<size_t>(map.height), 0);
        std::vector<int32_t> around;
        for (const int32_t cell : wanted) {
            const int x = cell % map.width, y = cell / map.width;
            for (int v = std::max(0, y - reach); v <= std::min(map.height - 1, y + reach); ++v) {
                for (int u = std::max(0, x - reach); u <= std::min(map.width - 1, x + reach); ++u) {
                    char& known = taken[static_cast<size_t>(v * map.width + u)];
                    if (!std::exchange(known, 1)) around.push_back(v * map.width + u);
                }
            }
        }
        wanted = std::move(around);
    }
    return out;
}

void compute_cells(Span<const CellLayer> layers, const float* input, Size map, const std::vector<int32_t>& wanted,
                   float* output, bool simd) {
    if (wanted.empty()) return;
    const int map_cells = map.width * map.height;
    // One that reads the input, of the same reach as the first: then the input is a layer's answer as any other.
    std::vector<int> sides{1};
    for (const CellLayer& layer : layers) sides.push_back(layer.side);
    const auto cells = needed_cells({sides.data(), sides.size()}, wanted, map);
    Cells values(cells[0], map_cells, layers[0].inputs);
    for (size_t i = 0; i < cells[0].size(); ++i) {
        for (int c = 0; c < layers[0].inputs; ++c)
            values.at(i)[c] = input[static_cast<ptrdiff_t>(c) * map_cells + cells[0][i]];
    }
    for (size_t l = 0; l < layers.size(); ++l) {
        Cells next(cells[l + 1], map_cells, layers[l].outputs);
        run_layer(layers[l], values, cells[l + 1], map, simd, next);
        values = std::move(next);
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
        for (int c = 0; c < values.each; ++c)
            output[static_cast<ptrdiff_t>(c) * map_cells + wanted[i]] = values.at(i)[c];
    }
}

}  // namespace trtpose::openvino
