// SPDX-License-Identifier: Apache-2.0
// Convolutions of some cells, beside the same written out.
#include "backends/openvino/cell_layers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace trtpose::openvino {
namespace {

struct Convolution {
    int inputs, outputs, side;
    bool silu;
    std::vector<float> weights, bias;

    Convolution(int inputs_in, int outputs_in, int side_in, bool silu_in, std::mt19937& random)
        : inputs(inputs_in), outputs(outputs_in), side(side_in), silu(silu_in) {
        std::normal_distribution<float> normal(0.0f, 0.3f);
        weights.resize(static_cast<size_t>(outputs * inputs * side * side));
        bias.resize(static_cast<size_t>(outputs));
        for (float& weight : weights) weight = normal(random);
        for (float& one : bias) one = normal(random);
    }

    /// Of every cell, in float64.
    std::vector<double> everywhere(const std::vector<double>& input, Size map) const {
        std::vector<double> out(static_cast<size_t>(outputs * map.height * map.width));
        for (int o = 0; o < outputs; ++o) {
            for (int y = 0; y < map.height; ++y) {
                for (int x = 0; x < map.width; ++x) {
                    double sum = bias[static_cast<size_t>(o)];
                    for (int i = 0; i < inputs; ++i) sum += around(input, map, o, i, y, x);
                    out[static_cast<size_t>((o * map.height + y) * map.width + x)] =
                        silu ? sum / (1 + std::exp(-sum)) : sum;
                }
            }
        }
        return out;
    }

private:
    double around(const std::vector<double>& input, Size map, int o, int i, int y, int x) const {
        double sum = 0;
        for (int v = 0; v < side; ++v) {
            for (int u = 0; u < side; ++u) {
                const int row = y + v - side / 2, column = x + u - side / 2;
                if (row < 0 || row >= map.height || column < 0 || column >= map.width) continue;
                sum += input[static_cast<size_t>((i * map.height + row) * map.width + column)] *
                       static_cast<double>(weights[static_cast<size_t>(((o * inputs + i) * side + v) * side + u)]);
            }
        }
        return sum;
    }
};

/// A chain and its input, of numbers that follow from a seed.
struct Chain {
    std::vector<Convolution> layers;
    std::vector<float> input;
    Size map;

    Chain(const std::vector<int>& channels, const std::vector<int>& sides, Size map_in, unsigned seed) : map(map_in) {
        std::mt19937 random(seed);
        for (size_t l = 0; l < sides.size(); ++l)
            layers.emplace_back(channels[l], channels[l + 1], sides[l], l + 1 < sides.size(), random);
        input.resize(static_cast<size_t>(channels[0] * map.height * map.width));
        std::normal_distribution<float> normal;
        for (float& one : input) one = normal(random);
    }

    std::vector<double> everywhere() const {
        std::vector<double> values(input.begin(), input.end());
        for (const Convolution& layer : layers) values = layer.everywhere(values, map);
        return values;
    }

    std::vector<float> of(const std::vector<int32_t>& cells, float elsewhere, bool simd) const {
        std::vector<std::vector<float>> packed;
        std::vector<CellLayer> chain;
        for (const Convolution& one : layers) {
            CellLayer layer{one.inputs, one.outputs, one.side, one.silu, nullptr, one.bias.data()};
            packed.push_back(packed_weights(one.weights.data(), layer));
            layer.weights = packed.back().data();
            chain.push_back(layer);
        }
        std::vector<float> out(static_cast<size_t>(layers.back().outputs * map.height * map.width), elsewhere);
        compute_cells(chain, input.data(), map, cells, out.data(), simd);
        return out;
    }
};

constexpr float kUntouched = -777.0f;
/// Sums of some hundreds of products of about 1 in float32, twice.
constexpr double kTolerance = 2e-5;

void expect_cells(const Chain& chain, const std::vector<int32_t>& cells) {
    const auto wanted = chain.everywhere();
    const int count = chain.map.height * chain.map.width;
    for (const bool simd : {true, false}) {
        const auto found = chain.of(cells, kUntouched, simd);
        for (size_t i = 0; i < found.size(); ++i) {
            const bool asked = std::count(cells.begin(), cells.end(), static_cast<int32_t>(i) % count) > 0;
            if (asked) {
                EXPECT_NEAR(found[i], wanted[i], kTolerance * std::max(1.0, std::fabs(wanted[i]))) << "number " << i;
            } else {
                EXPECT_EQ(found[i], kUntouched) << "number " << i;
            }
        }
    }
}

TEST(CellLayers, EveryCellOfSmallMaps) {
    for (const Size map : {Size{1, 1}, Size{1, 5}, Size{4, 1}, Size{3, 3}, Size{6, 5}}) {
        const Chain chain({5, 7, 3}, {3, 1}, map, 1);
        std::vector<int32_t> all(static_cast<size_t>(map.height * map.width));
        std::iota(all.begin(), all.end(), 0);
        expect_cells(chain, all);
    }
}

TEST(CellLayers, SomeCellsOfChainsOfAllWidths) {
    std::mt19937 random(2);
    for (const int width : {1, 15, 16, 17, 31, 33, 51}) {
        const Chain chain({9, width, width + 1, 4}, {3, 3, 1}, {9, 11}, static_cast<unsigned>(width));
        for (const size_t count : {size_t{1}, size_t{5}, size_t{6}, size_t{7}, size_t{40}}) {
            std::vector<int32_t> all(99), some;
            std::iota(all.begin(), all.end(), 0);
            std::sample(all.begin(), all.end(), std::back_inserter(some), count, random);
            expect_cells(chain, some);
        }
    }
}

TEST(CellLayers, WiderSquaresAndSingleLayers) {
    expect_cells(Chain({3, 20}, {5}, {7, 6}, 3), {0, 5, 21, 41});
    expect_cells(Chain({3, 6, 2}, {5, 3}, {8, 8}, 4), {0, 7, 28, 63});
    expect_cells(Chain({4, 2}, {1}, {2, 2}, 5), {3});
}

TEST(CellLayers, NoCellsAreNoWork) { expect_cells(Chain({3, 4, 2}, {3, 1}, {4, 4}, 6), {}); }

TEST(CellLayers, NeededAreThoseAroundAndEachOnce) {
    const std::vector<int> sides{3, 3, 1};
    auto cells = needed_cells({sides.data(), sides.size()}, {0, 6, 7}, {5, 5});
    ASSERT_EQ(cells.size(), 3u);
    EXPECT_EQ(cells[2], (std::vector<int32_t>{0, 6, 7}));
    EXPECT_EQ(cells[1], (std::vector<int32_t>{0, 6, 7}));
    std::sort(cells[0].begin(), cells[0].end());
    EXPECT_EQ(cells[0], (std::vector<int32_t>{0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13}));
}

}  // namespace
}  // namespace trtpose::openvino
