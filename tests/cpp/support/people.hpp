// SPDX-License-Identifier: Apache-2.0
// Frames and a network for which what is found is known: the network counts the people by the frame's colour.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "support/fake_session.hpp"
#include "support/op_test.hpp"
#include "trtpose/engine.hpp"

namespace trtpose::test {

/// A picture of one colour. Its red byte is what the fake network answers to.
struct Frame {
    std::vector<uint8_t> bytes;
    ImageView view;

    Frame(int number, int width, int height) : bytes(3 * static_cast<size_t>(width) * static_cast<size_t>(height)) {
        for (size_t i = 0; i < bytes.size(); i += 3) {
            bytes[i] = 7;
            bytes[i + 1] = 9;
            bytes[i + 2] = static_cast<uint8_t>(number);
        }
        view = {bytes.data(), width, height, 0, PixelFormat::bgr, {}};
    }
};

inline int number_of(const float* image, Size size) {
    const size_t centre =
        static_cast<size_t>(size.height / 2) * static_cast<size_t>(size.width) + static_cast<size_t>(size.width / 2);
    return static_cast<int>(std::lround(image[centre] * 255));
}

/// A row of layout channels_first with one class and two keypoints.
struct Row {
    float cx, cy, w, h, score, x0, y0, c0, x1, y1, c1;
};
inline constexpr int kFields = 11;

/// What the network finds in picture `number` at this input size: number mod 4 people, each far from the others, and of
/// each a second, weaker box that NMS removes.
inline std::vector<Row> people(int number, Size size) {
    std::vector<Row> rows;
    for (int i = 0; i < number % 4; ++i) {
        const float x = static_cast<float>(size.width) * (0.2f + 0.3f * static_cast<float>(i));
        const float y = static_cast<float>(size.height) * 0.5f + static_cast<float>(number % 8);
        const float score = 0.9f - 0.1f * static_cast<float>(i) - 0.001f * static_cast<float>(number);
        rows.push_back({x, y, 8, 16, score, x - 2, y, 0.75f, x + 2, y + 1, 0.25f});
        rows.push_back({x + 0.25f, y, 8, 16, score / 2, x, y, 0.5f, x, y, 0.5f});
    }
    return rows;
}

inline std::shared_ptr<FakeNetwork> people_network() {
    auto network = std::make_shared<FakeNetwork>();
    network->shapes = [](Size size) {
        return std::vector<FakeNetwork::Shape>{{kFields, (size.height / 8) * (size.width / 8)}};
    };
    network->answer = [](const float* image, Size size, const std::vector<float*>& outputs) {
        const auto cells = static_cast<size_t>((size.height / 8) * (size.width / 8));
        std::fill_n(outputs[0], kFields * cells, 0.0f);
        size_t at = 0;
        for (const Row& row : people(number_of(image, size), size)) {
            const float* values = &row.cx;
            for (size_t f = 0; f < kFields; ++f) outputs[0][f * cells + at] = values[f];
            at += 3;
        }
    };
    return network;
}

inline ModelSpec people_spec() {
    ModelSpec spec = make_spec(Layout::channels_first, 2, 1, 1, 2, 3);
    spec.imgsz = {64, 96};
    spec.name = "people";
    return spec;
}

/// Whether both hold the same poses, in every bit.
inline bool same(const std::vector<Poses>& a, const std::vector<Poses>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Poses& x, const Poses& y) {
        return x.count == y.count && x.boxes == y.boxes && x.scores == y.scores && x.class_ids == y.class_ids &&
               x.keypoints == y.keypoints;
    });
}

inline void expect_same(const Poses& a, const Poses& b) {
    EXPECT_EQ(a.count, b.count);
    EXPECT_EQ(a.frame, b.frame);
    EXPECT_EQ(a.boxes, b.boxes);
    EXPECT_EQ(a.scores, b.scores);
    EXPECT_EQ(a.class_ids, b.class_ids);
    EXPECT_EQ(a.keypoints, b.keypoints);
}

}  // namespace trtpose::test
