// SPDX-License-Identifier: Apache-2.0
#include "support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace trtpose::test {
namespace {

double logistic(double t) { return 1.0 / (1.0 + std::exp(-t)); }

/// Round half to even, as Python does.
int round_even(double v) {
    const double down = std::floor(v);
    const double rest = v - down;
    if (rest > 0.5 || (rest == 0.5 && std::fmod(down, 2.0) != 0)) return static_cast<int>(down) + 1;
    return static_cast<int>(down);
}

/// Two neighbours and their weights in 1/2048 for every pixel of one axis.
struct Axis {
    std::vector<int> index, c0, c1;
};

/// `factor`: target pixels per source pixel.
Axis axis(int target, int source, bool columns, double factor) {
    Axis out;
    const double scale = 1.0 / factor;
    for (int d = 0; d < target; ++d) {
        auto f = static_cast<float>((d + 0.5) * scale - 0.5);
        int s = static_cast<int>(std::floor(f));
        f -= static_cast<float>(s);
        if (columns && s < 0) s = 0, f = 0;
        if (columns && s >= source - 1) s = source - 1, f = 0;
        out.index.push_back(s);
        out.c0.push_back(round_even((1.0f - f) * 2048.0f));
        out.c1.push_back(round_even(f * 2048.0f));
    }
    return out;
}

}  // namespace

std::vector<std::vector<ReferenceAnchor>> decode_reference(const ModelSpec& spec, const NetworkOutputs& outputs,
                                                           Size input) {
    const int64_t fields = spec.fields(), per_cell = spec.anchors_per_cell();
    std::vector<std::vector<ReferenceAnchor>> images(static_cast<size_t>(outputs.shapes.front().front()));
    for (size_t l = 0; l < spec.strides.size(); ++l) {
        const int stride = spec.strides[l];
        const int64_t rows = input.height / stride, columns = input.width / stride;
        for (size_t n = 0; n < images.size(); ++n) {
            for (int64_t a = 0; a < per_cell; ++a) {
                for (int64_t i = 0; i < rows; ++i) {
                    for (int64_t j = 0; j < columns; ++j) {
                        const auto t = [&](int64_t f) -> double {
                            const auto image = static_cast<int64_t>(n);
                            const int64_t at =
                                spec.layout == Layout::heads
                                    ? ((image * per_cell * fields + a * fields + f) * rows + i) * columns + j
                                    : (((image * per_cell + a) * rows + i) * columns + j) * fields + f;
                            return outputs.data[l][static_cast<size_t>(at)];
                        };
                        const auto& side = spec.anchors[l][static_cast<size_t>(a)];
                        ReferenceAnchor anchor;
                        const double cx = (2 * logistic(t(0)) - 0.5 + static_cast<double>(j)) * stride;
                        const double cy = (2 * logistic(t(1)) - 0.5 + static_cast<double>(i)) * stride;
                        const double w = std::pow(2 * logistic(t(2)), 2) * side.first;
                        const double h = std::pow(2 * logistic(t(3)), 2) * side.second;
                        anchor.box = {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2};
                        anchor.objectness = logistic(t(4));
                        for (int c = 0; c < spec.classes(); ++c) {
                            if (const double s = logistic(t(5 + c)); c == 0 || s > anchor.score)
                                anchor.score = s, anchor.class_id = c;
                        }
                        anchor.score *= anchor.objectness;
                        for (int k = 0; k < spec.keypoints; ++k) {
                            const int64_t f = 5 + spec.classes() + k * spec.keypoint_dims;
                            anchor.keypoints.push_back((2 * t(f) - 0.5 + static_cast<double>(j)) * stride);
                            anchor.keypoints.push_back((2 * t(f + 1) - 0.5 + static_cast<double>(i)) * stride);
                            anchor.keypoints.push_back(spec.keypoint_dims == 3 ? logistic(t(f + 2)) : 1.0);
                        }
                        images[n].push_back(std::move(anchor));
                    }
                }
            }
        }
    }
    return images;
}

double iou_reference(const ReferenceCandidate& a, const ReferenceCandidate& b) {
    const auto area = [](const ReferenceCandidate& c) {
        return (static_cast<double>(c.box[2]) - c.box[0]) * (static_cast<double>(c.box[3]) - c.box[1]);
    };
    const double w = std::min<double>(a.box[2], b.box[2]) - std::max<double>(a.box[0], b.box[0]);
    const double h = std::min<double>(a.box[3], b.box[3]) - std::max<double>(a.box[1], b.box[1]);
    const double inter = std::max(w, 0.0) * std::max(h, 0.0);
    return inter / (area(a) + area(b) - inter);
}

double oks_reference(const ReferenceCandidate& better, const ReferenceCandidate& other,
                     const std::vector<float>& sigmas) {
    const double area =
        (static_cast<double>(better.box[2]) - better.box[0]) * (static_cast<double>(better.box[3]) - better.box[1]);
    double sum = 0;
    for (size_t k = 0; k < sigmas.size(); ++k) {
        const double dx = static_cast<double>(better.keypoints[3 * k]) - other.keypoints[3 * k];
        const double dy = static_cast<double>(better.keypoints[3 * k + 1]) - other.keypoints[3 * k + 1];
        const double deviation = 2.0 * sigmas[k];
        sum += std::exp(-(dx * dx + dy * dy) / (2 * area * deviation * deviation));
    }
    return sum / static_cast<double>(sigmas.size());
}

std::vector<int> nms_reference(const std::vector<ReferenceCandidate>& candidates, const ops::NmsParams& params,
                               const std::vector<float>& sigmas, double* closest) {
    std::vector<int> order(candidates.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
        const auto &x = candidates[static_cast<size_t>(a)], &y = candidates[static_cast<size_t>(b)];
        return x.score != y.score ? x.score > y.score : x.anchor < y.anchor;
    });
    if (order.size() > static_cast<size_t>(params.max_nms)) order.resize(static_cast<size_t>(params.max_nms));
    if (closest) *closest = std::numeric_limits<double>::infinity();
    std::vector<int> kept;
    for (const int i : order) {
        if (kept.size() == static_cast<size_t>(params.max_det)) break;
        const auto& candidate = candidates[static_cast<size_t>(i)];
        bool suppressed = false;
        for (const int k : kept) {
            const auto& better = candidates[static_cast<size_t>(k)];
            if (!params.suppress || (!params.agnostic && better.class_id != candidate.class_id)) continue;
            const double similarity = params.similarity == ops::Similarity::oks
                                          ? oks_reference(better, candidate, sigmas)
                                          : iou_reference(better, candidate);
            if (closest) *closest = std::min(*closest, std::abs(similarity - static_cast<double>(params.threshold)));
            if (similarity > static_cast<double>(params.threshold)) suppressed = true;
        }
        if (!suppressed) kept.push_back(i);
    }
    return kept;
}

ReferenceFrame random_frame(std::mt19937& random, int width, int height, int padding, bool upside_down) {
    ReferenceFrame frame;
    frame.width = width;
    frame.height = height;
    frame.stride = 3 * width + padding;
    // Nothing behind the last row's pixels, so that a read there is caught.
    frame.bytes.resize(static_cast<size_t>(frame.stride) * static_cast<size_t>(height - 1) +
                       3 * static_cast<size_t>(width));
    for (auto& byte : frame.bytes) byte = static_cast<uint8_t>(random());
    if (upside_down) frame.stride = -frame.stride;
    return frame;
}

std::vector<uint8_t> letterbox_reference(const ReferenceFrame& frame, Size size, int pad, math::LetterboxForm form) {
    const auto whole = [&](double v) {
        return form.rounding == math::Rounding::down ? static_cast<int>(v) : round_even(v);
    };
    double r = static_cast<double>(size.height) / frame.height;
    const bool height_alone = form.sizing == math::Sizing::height && std::max(whole(frame.width * r), 1) <= size.width;
    if (!height_alone) r = std::min(r, static_cast<double>(size.width) / frame.width);
    const bool stretched = form.sizing == math::Sizing::stretch;
    const int width = stretched ? size.width : std::clamp(whole(frame.width * r), 1, size.width);
    const int height = stretched ? size.height : std::clamp(whole(frame.height * r), 1, size.height);
    const bool centred = form.placement == math::Placement::center;
    const int left = centred ? round_even((size.width - width) / 2.0 - 0.1) : 0;
    const int top = centred ? round_even((size.height - height) / 2.0 - 0.1) : 0;
    // By the height alone OpenCV is given a factor, which counts for the columns too.
    const bool by_factor = height_alone && frame.width * r > 0.5;
    const double factor = by_factor ? r : static_cast<double>(height) / frame.height;
    const Axis xs = axis(width, frame.width, true, by_factor ? factor : static_cast<double>(width) / frame.width),
               ys = axis(height, frame.height, false, factor);
    std::vector<uint8_t> out(3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width),
                             static_cast<uint8_t>(pad));
    for (int y = 0; y < height; ++y) {
        const auto row = static_cast<size_t>(y);
        for (int x = 0; x < width; ++x) {
            const auto column = static_cast<size_t>(x);
            for (int c = 0; c < 3; ++c) {
                int sums[2];
                for (int i = 0; i < 2; ++i) {
                    const int from = std::clamp(ys.index[row] + i, 0, frame.height - 1);
                    const int right = std::min(xs.index[column] + 1, frame.width - 1);
                    sums[i] = (frame.at(from, xs.index[column], c) * xs.c0[column] +
                               frame.at(from, right, c) * xs.c1[column]) >>
                              4;
                }
                const int value = (((ys.c0[row] * sums[0]) >> 16) + ((ys.c1[row] * sums[1]) >> 16) + 2) >> 2;
                out[3 * (static_cast<size_t>(top + y) * static_cast<size_t>(size.width) +
                         static_cast<size_t>(left + x)) +
                    static_cast<size_t>(c)] = static_cast<uint8_t>(value);
            }
        }
    }
    return out;
}

unsigned seed() {
    const char* chosen = std::getenv("TRTPOSE_SEED");
    return chosen && *chosen ? static_cast<unsigned>(std::strtoul(chosen, nullptr, 10)) : 20240521u;
}

}  // namespace trtpose::test
