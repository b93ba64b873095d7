// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/outputs.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "core/check.hpp"

namespace trtpose::openvino {
namespace {

void fill_rows(const ov::Tensor& found, size_t i, size_t room, float* to) {
    const ov::Shape& shape = found.get_shape();
    const size_t rows = shape[1];
    if (rows > room)
        throw std::runtime_error(
            text("output ", i, " has ", rows, " rows, and there is room for ", room, "; say in the spec for more"));
    const size_t each = std::accumulate(shape.begin() + 2, shape.end(), size_t{1}, std::multiplies<>());
    const float* from = rows > 0 ? found.data<float>() : nullptr;
    for (size_t image = 0; image < shape[0]; ++image) {
        float* const begin = to + image * room * each;
        std::copy_n(from + image * rows * each, rows * each, begin);
        std::fill_n(begin + rows * each, (room - rows) * each, 0.0f);
    }
}

}  // namespace

void copy_output(const ov::Tensor& found, size_t i, const std::vector<int64_t>& expected, bool rows_are_open,
                 void* to) {
    const ov::Shape shape(expected.begin(), expected.end());
    if (found.get_shape() == shape) {
        found.copy_to(ov::Tensor(ov::element::f32, shape, to));
        return;
    }
    ov::Shape alike = found.get_shape();
    if (rows_are_open && alike.size() == shape.size() && alike.size() > 1) alike[1] = shape[1];
    if (alike != shape)
        throw std::runtime_error(
            text("output ", i, " is ", shape_text(found.get_shape()), ", expected ", shape_text(expected)));
    fill_rows(found, i, shape[1], static_cast<float*>(to));
}

}  // namespace trtpose::openvino
