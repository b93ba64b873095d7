// SPDX-License-Identifier: Apache-2.0
#include "model/row_kind.hpp"

#include <algorithm>
#include <vector>

#include "core/check.hpp"

namespace trtpose {
namespace {

struct Rows {
    std::vector<float> numbers;
    size_t width;

    /// The share of rows that have a number outside 0 to 1 in columns `begin` to `end`.
    double outside(size_t begin, size_t end) const {
        size_t found = 0;
        for (size_t row = 0; row + width <= numbers.size(); row += width) {
            const auto first = numbers.begin() + static_cast<ptrdiff_t>(row);
            const auto probability = [](float v) { return v >= 0 && v <= 1; };
            if (!std::all_of(first + static_cast<ptrdiff_t>(begin), first + static_cast<ptrdiff_t>(end), probability))
                ++found;
        }
        return static_cast<double>(found) / static_cast<double>(std::max<size_t>(numbers.size() / width, 1));
    }

    /// The smallest share of any of these columns.
    double least_outside(size_t begin, size_t end) const {
        double least = 1;
        for (size_t column = begin; column < end; ++column) least = std::min(least, outside(column, column + 1));
        return least;
    }
};

}  // namespace

RowVerdict kind_of_rows(int keypoints, Size size, NetworkProbe* probe) {
    const size_t second_class = 6, coordinates = second_class + static_cast<size_t>(keypoints);
    Rows rows{{}, coordinates + 2 * static_cast<size_t>(keypoints)};
    std::string problem = "nobody could run it";
    try {
        if (probe) rows.numbers = probe->numbers(0, size);
    } catch (const Error& error) {
        problem = error.what();
    }
    if (rows.numbers.size() < rows.width) return {RowKind::not_run, problem};
    // Keypoints in pixels hardly ever lie in the first one, probabilities never beyond 1; what is between is no proof.
    constexpr double kNearlyAll = 0.9, kMost = 0.5;
    const double pixels = rows.outside(second_class, coordinates);
    if (pixels >= kNearlyAll) return {RowKind::yolo_pose, {}};
    if (pixels > 0) return {RowKind::undecided, {}};
    // Masks' coefficients and more classes may stand there as well, but not pixels in every column.
    if (rows.least_outside(coordinates, rows.width) >= kMost) return {RowKind::kapao, {}};
    if (rows.outside(coordinates, rows.width) > 0) return {RowKind::undecided, {}};
    return {rows.outside(0, coordinates) == 0 ? RowKind::kapao_sigmoid : RowKind::kapao_undecoded, {}};
}

}  // namespace trtpose
