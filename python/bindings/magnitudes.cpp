// SPDX-License-Identifier: Apache-2.0
// What calibration asks of the tensors of a network, each of which is looked at once.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "bindings.hpp"
#include "gil.hpp"

namespace trtpose::python {
namespace {

// What is not float32 or lies in pieces is refused, not copied.
using Floats = py::array_t<float, py::array::c_style>;
using Counts = py::array_t<int64_t, py::array::c_style>;

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 1024;
constexpr size_t kTables = 4;  ///< equal numbers come one behind the other, and each waits for the count of the last

/// NaN where one of them is.
float largest(const float* values, size_t count) {
    float most[kLanes] = {};
    int32_t odd[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
            const float magnitude = std::fabs(values[i + lane]);
            most[lane] = magnitude > most[lane] ? magnitude : most[lane];
            odd[lane] |= static_cast<int32_t>(magnitude != magnitude);
        }
    }
    for (; i < count; ++i) {
        const float magnitude = std::fabs(values[i]);
        most[0] = magnitude > most[0] ? magnitude : most[0];
        odd[0] |= static_cast<int32_t>(magnitude != magnitude);
    }
    if (std::any_of(odd, odd + kLanes, [](int32_t is) { return is != 0; }))
        return std::numeric_limits<float>::quiet_NaN();
    return *std::max_element(most, most + kLanes);
}

/// Adds every `step`th magnitude times `bins_per_unit`, cut to a whole number, to the counts; larger ones to the last.
void count(const float* values, size_t size, size_t step, float bins_per_unit, int64_t* counts, size_t bins) {
    std::vector<int64_t> tables(kTables * bins);
    const float last = static_cast<float>(bins - 1);
    int32_t at[kBlock];
    const size_t total = (size + step - 1) / step;
    for (size_t begin = 0; begin < total; begin += kBlock) {
        const size_t length = std::min(kBlock, total - begin);
        const float* const from = values + begin * step;
        for (size_t i = 0; i < length; ++i) {
            const float scaled = std::fabs(from[i * step]) * bins_per_unit;
            at[i] = static_cast<int32_t>(scaled < last ? scaled : last);
        }
        for (size_t i = 0; i < length; ++i) ++tables[i % kTables * bins + static_cast<size_t>(at[i])];
    }
    for (size_t i = 0; i < tables.size(); ++i) counts[i % bins] += tables[i];
}

}  // namespace

void register_magnitudes(py::module_& m) {
    m.def(
        "largest_magnitude",
        [](const Floats& values) {
            const ReleasedGil released;
            return largest(values.data(), static_cast<size_t>(values.size()));
        },
        py::arg("values").noconvert(), "The largest of the magnitudes, 0 of none, NaN where one of them is.");
    m.def(
        "count_magnitudes",
        [](const Floats& values, size_t step, float bins_per_unit, Counts counts) {
            if (step == 0 || counts.size() == 0) throw py::value_error("step and counts must not be empty");
            int64_t* const to = counts.mutable_data();
            const auto bins = static_cast<size_t>(counts.size());
            const ReleasedGil released;
            count(values.data(), static_cast<size_t>(values.size()), step, bins_per_unit, to, bins);
        },
        py::arg("values").noconvert(), py::arg("step"), py::arg("bins_per_unit"), py::arg("counts").noconvert(),
        "Adds one to counts[int(|v| * bins_per_unit)] for every step'th value; what is behind the last bin is counted "
        "there.");
}

}  // namespace trtpose::python
