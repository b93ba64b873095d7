// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "support/files.hpp"
#include "support/goldens.hpp"
#include "support/op_test.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr const char* kNetworks[] = {"yolov7-w6-pose-eighth", "yolov5s6_kpts-narrow", "yolov5s6_kpts_ti_lite-narrow"};

// Half a unit in the last place of a coordinate near 1000 is 3e-5; the exponential may be off by two units and a side
// squares it. Ten such steps still stay below a thousandth of a pixel.
constexpr double kPixels = 1e-3;
// Scores and confidences lie in 0..1, where float32 resolves 6e-8.
constexpr double kScore = 1e-6;

/// A network's reference: its raw heads, and what the reference code decodes them to.
struct Network {
    ModelSpec spec;
    Size input;
    NetworkOutputs heads;
    int batch = 0, anchors = 0, fields = 0;
    const float* decoded = nullptr;  ///< batch × anchors × fields

    explicit Network(const Goldens& goldens) {
        const auto& images = goldens.at("images").shape;
        batch = static_cast<int>(images[0]);
        input = {static_cast<int>(images[2]), static_cast<int>(images[3])};
        const auto& rows = goldens.at("decoded");
        anchors = static_cast<int>(rows.shape[1]);
        fields = static_cast<int>(rows.shape[2]);
        decoded = rows.floats.data();
        spec.name = "reference";
        spec.imgsz = input;
        spec.names = {"person"};
        spec.keypoints = (fields - 6) / 3;
        const auto& sides = goldens.at("anchors");
        size_t at = 0;
        for (const float stride : goldens.at("strides").floats) {
            spec.strides.push_back(static_cast<int>(stride));
            auto& level = spec.anchors.emplace_back();
            for (int64_t a = 0; a < sides.shape[1]; ++a, at += 2)
                level.emplace_back(sides.floats[at], sides.floats[at + 1]);
        }
        for (size_t l = 0; l < spec.strides.size(); ++l) {
            const auto& head = goldens.at("head" + std::to_string(l));
            heads.shapes.push_back(head.shape);
            heads.data.push_back(head.floats);
        }
    }

    const float* row(int image, int anchor) const {
        return decoded + (static_cast<ptrdiff_t>(image) * anchors + anchor) * fields;
    }
};

class DecodeTest : public OpTest {
protected:
    /// Every anchor passes a confidence of 0, so all of them are compared with the reference's rows.
    void expect_reference(const Network& network, const ModelSpec& spec, const NetworkOutputs& outputs) {
        const Decoded d = decode(spec, outputs, network.input, 0.0f);
        double worst_box = 0, worst_point = 0, worst_score = 0;
        for (int image = 0; image < network.batch; ++image) {
            const auto found = candidates_of(d, image);
            ASSERT_EQ(found.size(), static_cast<size_t>(network.anchors));
            for (int i = 0; i < network.anchors; ++i) {
                const auto& got = found[static_cast<size_t>(i)];
                const float* row = network.row(image, i);
                ASSERT_EQ(got.anchor, i);
                ASSERT_EQ(got.class_id, 0);
                const double expected[] = {row[0] - row[2] / 2.0, row[1] - row[3] / 2.0, row[0] + row[2] / 2.0,
                                           row[1] + row[3] / 2.0};
                for (size_t c = 0; c < 4; ++c)
                    worst_box = std::max(worst_box, std::abs(expected[c] - static_cast<double>(got.box[c])));
                worst_score = std::max(worst_score, std::abs(static_cast<double>(row[4]) * row[5] - got.score));
                ASSERT_EQ(got.keypoints.size(), static_cast<size_t>(network.fields - 6));
                for (size_t k = 0; k < got.keypoints.size(); ++k) {
                    const double off = std::abs(static_cast<double>(row[6 + k]) - got.keypoints[k]);
                    (k % 3 == 2 ? worst_score : worst_point) = std::max(k % 3 == 2 ? worst_score : worst_point, off);
                }
            }
        }
        EXPECT_LE(worst_box, kPixels);
        EXPECT_LE(worst_point, kPixels);
        EXPECT_LE(worst_score, kScore);
        RecordProperty("worst_box", std::to_string(worst_box));
        RecordProperty("worst_point", std::to_string(worst_point));
    }
};
TRTPOSE_ON_EVERY_DEVICE(DecodeTest);

TEST_P(DecodeTest, HeadsEqualTheReference) {
    for (const char* name : kNetworks) {
        SCOPED_TRACE(name);
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        const Network network(goldens);
        expect_reference(network, network.spec, network.heads);
    }
}

TEST_P(DecodeTest, HeadsOfFiveDimensionsEqualTheReference) {
    for (const char* name : kNetworks) {
        SCOPED_TRACE(name);
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        const Network network(goldens);
        ModelSpec spec = network.spec;
        spec.layout = Layout::heads5d;
        NetworkOutputs viewed;
        for (size_t l = 0; l < network.heads.data.size(); ++l) {
            const auto& shape = network.heads.shapes[l];
            const int64_t per_cell = spec.anchors_per_cell(), fields = spec.fields(), cells = shape[2] * shape[3];
            viewed.shapes.push_back({shape[0], per_cell, shape[2], shape[3], fields});
            auto& out = viewed.data.emplace_back(network.heads.data[l].size());
            for (int64_t block = 0; block < shape[0] * per_cell; ++block) {
                for (int64_t f = 0; f < fields; ++f) {
                    for (int64_t cell = 0; cell < cells; ++cell)
                        out[static_cast<size_t>((block * cells + cell) * fields + f)] =
                            network.heads.data[l][static_cast<size_t>((block * fields + f) * cells + cell)];
                }
            }
        }
        expect_reference(network, spec, viewed);
    }
}

TEST_P(DecodeTest, DecodedAnchorsEqualTheReference) {
    for (const char* name : kNetworks) {
        SCOPED_TRACE(name);
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        const Network network(goldens);
        ModelSpec spec = network.spec;
        spec.layout = Layout::decoded;
        const auto& rows = goldens.at("decoded");
        expect_reference(network, spec, {{rows.shape}, {rows.floats}});
    }
}

TEST_P(DecodeTest, ChannelsFirstEqualsTheReference) {
    for (const char* name : kNetworks) {
        SCOPED_TRACE(name);
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        const Network network(goldens);
        ModelSpec spec = network.spec;
        spec.layout = Layout::channels_first;
        const int channels = network.fields - 1;  // one score instead of objectness and class
        std::vector<float> values;
        for (int n = 0; n < network.batch; ++n) {
            for (int c = 0; c < channels; ++c) {
                for (int i = 0; i < network.anchors; ++i) {
                    const float* row = network.row(n, i);
                    values.push_back(c < 4 ? row[c] : c == 4 ? row[4] * row[5] : row[c + 1]);
                }
            }
        }
        expect_reference(network, spec, {{{network.batch, channels, network.anchors}}, {values}});
    }
}

TEST_P(DecodeTest, FinalDetectionsEqualTheReference) {
    for (const char* name : kNetworks) {
        SCOPED_TRACE(name);
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        const Network network(goldens);
        ModelSpec spec = network.spec;
        spec.layout = Layout::final;
        std::vector<float> values;
        for (int n = 0; n < network.batch; ++n) {
            for (int i = 0; i < network.anchors; ++i) {
                const float* row = network.row(n, i);
                values.insert(values.end(), {row[0] - row[2] / 2, row[1] - row[3] / 2, row[0] + row[2] / 2,
                                             row[1] + row[3] / 2, row[4] * row[5], 0.0f});
                values.insert(values.end(), row + 6, row + network.fields);
            }
        }
        expect_reference(network, spec, {{{network.batch, network.anchors, network.fields}}, {values}});
    }
}

/// Raw heads of normal numbers, as a network's are.
NetworkOutputs random_heads(const ModelSpec& spec, int batch, Size input, std::mt19937& random, float spread) {
    std::normal_distribution<float> number(0, spread);
    NetworkOutputs out;
    for (const int stride : spec.strides) {
        const int64_t rows = input.height / stride, columns = input.width / stride;
        const int64_t per_cell = spec.anchors_per_cell(), fields = spec.fields();
        out.shapes.push_back(spec.layout == Layout::heads
                                 ? std::vector<int64_t>{batch, per_cell * fields, rows, columns}
                                 : std::vector<int64_t>{batch, per_cell, rows, columns, fields});
        auto& values = out.data.emplace_back(static_cast<size_t>(batch * per_cell * fields * rows * columns));
        for (auto& value : values) value = number(random);
    }
    return out;
}

/// The error a float32 computation of this size may have: a thousandth of a pixel, and beyond 1000 pixels the rounding
/// of float32 itself, which grows with the number.
double room(double value) { return std::max(kPixels, 2e-6 * std::abs(value)); }

TEST_P(DecodeTest, AnyNumberOfClassesKeypointsAnchorsAndStridesEqualsDoublePrecision) {
    struct Case {
        int levels, per_cell, classes, keypoints, dims, batch;
        Size input;
        float conf;
    };
    const Case cases[] = {
        {1, 1, 1, 1, 2, 1, {8, 8}, 0.0f},       {1, 1, 1, 1, 3, 2, {8, 24}, 0.25f},
        {3, 3, 1, 5, 3, 3, {96, 160}, 0.25f},   {2, 5, 4, 4, 2, 2, {48, 112}, 0.1f},
        {4, 2, 3, 21, 3, 1, {128, 192}, 0.5f},  {5, 8, 2, 17, 3, 1, {128, 256}, 0.7f},
        {8, 1, 1, 2, 3, 1, {1024, 1024}, 0.9f}, {1, 1, 1, 1, 3, 1, {1024, 1032}, 0.6f},  // several tasks per anchor
    };
    std::mt19937 random(seed());
    for (const auto& c : cases) {
        for (const Layout layout : {Layout::heads, Layout::heads5d}) {
            SCOPED_TRACE(testing::Message()
                         << "seed " << seed() << " levels " << c.levels << " anchors " << c.per_cell << " classes "
                         << c.classes << " keypoints " << c.keypoints << " layout " << to_string(layout));
            const ModelSpec spec = make_spec(layout, c.levels, c.per_cell, c.classes, c.keypoints, c.dims);
            const NetworkOutputs outputs = random_heads(spec, c.batch, c.input, random, 2.0f);
            const auto expected = decode_reference(spec, outputs, c.input);
            const Decoded d = decode(spec, outputs, c.input, c.conf);
            ASSERT_EQ(static_cast<size_t>(d.heads.total_anchors), expected.front().size());
            int compared = 0;
            for (int image = 0; image < c.batch; ++image) {
                const auto found = candidates_of(d, image);
                size_t at = 0;
                const auto& anchors = expected[static_cast<size_t>(image)];
                for (size_t i = 0; i < anchors.size(); ++i) {
                    const auto& e = anchors[i];
                    const bool here = at < found.size() && found[at].anchor == static_cast<int>(i);
                    const double conf = c.conf;
                    // Within rounding of the threshold both answers are right.
                    if (std::abs(e.score - conf) > kScore && std::abs(e.objectness - conf) > kScore) {
                        ASSERT_EQ(here, e.score > conf && e.objectness > conf)
                            << "anchor " << i << " score " << e.score << " objectness " << e.objectness;
                    }
                    if (!here) continue;
                    const auto& got = found[at++];
                    ++compared;
                    ASSERT_NEAR(got.score, e.score, kScore);
                    ASSERT_EQ(got.class_id, e.class_id);
                    for (size_t k = 0; k < 4; ++k) ASSERT_NEAR(got.box[k], e.box[k], room(e.box[k]));
                    for (size_t k = 0; k < e.keypoints.size(); ++k)
                        ASSERT_NEAR(got.keypoints[k], e.keypoints[k], k % 3 == 2 ? kScore : room(e.keypoints[k]));
                }
                ASSERT_EQ(at, found.size());
            }
            EXPECT_GT(compared, 0);
        }
    }
}

/// One cell at stride 8, one anchor of 10 × 20, one class and one keypoint: few enough numbers to set by hand.
struct OneCell {
    ModelSpec spec = make_spec(Layout::heads, 1, 1, 1, 1, 3);
    Size input{8, 8};
    // cx cy w h objectness class x y confidence
    std::vector<float> raw = {0, 0, 0, 0, 2, 3, 0.25f, 0.75f, 0};

    NetworkOutputs outputs() const { return {{{1, 9, 1, 1}}, {raw}}; }
};

TEST_P(DecodeTest, ACellIsReadAsTheConventionsSay) {
    OneCell cell;
    const Decoded d = decode(cell.spec, cell.outputs(), cell.input, 0.25f);
    const auto found = candidates_of(d, 0);
    ASSERT_EQ(found.size(), 1u);
    // σ(0) = 0.5: the centre lies 0.5 cells into the grid, the sides are the anchor's (11 × 17).
    EXPECT_EQ(found[0].box, (std::array<float, 4>{4 - 5.5f, 4 - 8.5f, 4 + 5.5f, 4 + 8.5f}));
    EXPECT_NEAR(found[0].score, 1 / (1 + std::exp(-2.0)) / (1 + std::exp(-3.0)), kScore);
    EXPECT_EQ(found[0].keypoints, (std::vector<float>{0.0f, 8.0f, 0.5f}));
}

TEST_P(DecodeTest, NumbersThatAreNotFiniteNeverBecomeAPose) {
    for (const float bad : {kNan, kInf, -kInf}) {
        for (const size_t field : {0u, 1u, 2u, 3u, 4u, 5u}) {
            SCOPED_TRACE(testing::Message() << "field " << field << " is " << bad);
            OneCell cell;
            cell.raw[field] = bad;
            const Decoded d = decode(cell.spec, cell.outputs(), cell.input, 0.25f);
            for (const auto& c : candidates_of(d, 0)) {
                for (const float v : c.box) EXPECT_TRUE(std::isfinite(v));
                EXPECT_TRUE(c.score > 0.25f && c.score <= 1.0f);
                EXPECT_FALSE(std::isnan(bad));  // σ of an infinity is 0 or 1, which may stand; NaN is nothing
            }
        }
    }
}

TEST_P(DecodeTest, AKeypointThatIsNotFiniteIsNotThere) {
    for (const float bad : {kNan, kInf, -kInf}) {
        for (const size_t field : {6u, 7u}) {
            OneCell cell;
            cell.raw[field] = bad;
            const auto found = candidates_of(decode(cell.spec, cell.outputs(), cell.input, 0.25f), 0);
            ASSERT_EQ(found.size(), 1u);
            EXPECT_EQ(found[0].keypoints, (std::vector<float>{0, 0, 0}));
        }
    }
    OneCell cell;
    cell.raw[8] = kNan;
    EXPECT_EQ(candidates_of(decode(cell.spec, cell.outputs(), cell.input, 0.25f), 0)[0].keypoints,
              (std::vector<float>{0, 0, 0}));
}

TEST_P(DecodeTest, ThresholdsAreStrict) {
    // Layouts that hold scores let the threshold be met exactly.
    ModelSpec spec = make_spec(Layout::channels_first, 1, 1, 1, 1, 2);
    const auto passing = [&](float score, float conf) {
        return decode(spec, {{{1, 7, 1}}, {{4, 4, 2, 2, score, 1, 1}}}, {8, 8}, conf).counts[0];
    };
    EXPECT_EQ(passing(0.5f, 0.5f), 0);
    EXPECT_EQ(passing(std::nextafter(0.5f, 1.0f), 0.5f), 1);
    EXPECT_EQ(passing(1.0f, 1.0f), 0);
    EXPECT_EQ(passing(0.0f, 0.0f), 0);
    EXPECT_EQ(passing(1e-6f, 0.0f), 1);
    EXPECT_EQ(passing(kNan, 0.0f), 0);

    spec.layout = Layout::decoded;
    const auto passing_both = [&](float objectness, float score, float conf) {
        return decode(spec, {{{1, 1, 8}}, {{4, 4, 2, 2, objectness, score, 1, 1}}}, {8, 8}, conf).counts[0];
    };
    EXPECT_EQ(passing_both(0.5f, 1.0f, 0.5f), 0) << "objectness alone";
    EXPECT_EQ(passing_both(0.75f, 0.5f, 0.375f), 0) << "the product";
    EXPECT_EQ(passing_both(0.75f, 0.5f, 0.374f), 1);
    EXPECT_EQ(passing_both(0.25f, 2.0f, 0.3f), 0) << "objectness below, product above";
}

TEST_P(DecodeTest, EqualClassScoresGoToTheLowerClass) {
    const ModelSpec spec = make_spec(Layout::channels_first, 1, 1, 3, 1, 2);
    const auto class_of = [&](std::vector<float> scores) {
        std::vector<float> values = {4, 4, 2, 2};
        values.insert(values.end(), scores.begin(), scores.end());
        values.insert(values.end(), {1, 1});
        const auto found = candidates_of(decode(spec, {{{1, 9, 1}}, {values}}, {8, 8}, 0.1f), 0);
        return found.empty() ? -1 : found[0].class_id;
    };
    EXPECT_EQ(class_of({0.5f, 0.5f, 0.5f}), 0);
    EXPECT_EQ(class_of({0.2f, 0.5f, 0.5f}), 1);
    EXPECT_EQ(class_of({0.2f, 0.5f, 0.6f}), 2);
    EXPECT_EQ(class_of({kNan, 0.5f, 0.4f}), 1);
    EXPECT_EQ(class_of({kNan, kNan, kNan}), -1);
    EXPECT_EQ(class_of({0.05f, 0.0f, 0.1f}), -1);
}

TEST_P(DecodeTest, FinalDetectionsOfNoClassAreDropped) {
    const ModelSpec spec = make_spec(Layout::final, 1, 1, 2, 1, 3);
    const auto found_with = [&](float class_id) {
        return decode(spec, {{{1, 1, 9}}, {{1, 2, 3, 4, 0.9f, class_id, 5, 6, 0.7f}}}, {8, 8}, 0.25f).counts[0];
    };
    EXPECT_EQ(found_with(0), 1);
    EXPECT_EQ(found_with(1), 1);
    // The engine refuses those, by name: dropped they would be nobody without a word.
    EXPECT_EQ(found_with(2), 1) << "a class that the spec has no name for";
    for (const float bad : {-1.0f, 65536.0f, 1e9f, -1e30f, kNan, kInf, -kInf}) EXPECT_EQ(found_with(bad), 0) << bad;
}

TEST_P(DecodeTest, MoreCandidatesThanRoomAreCountedAndLeftOut) {
    const ModelSpec spec = make_spec(Layout::heads, 2, 3, 1, 2, 3);
    std::mt19937 random(seed());
    const Size input{64, 64};
    const NetworkOutputs outputs = random_heads(spec, 2, input, random, 1.0f);
    const Decoded all = decode(spec, outputs, input, 0.0f);
    ASSERT_EQ(all.counts, (std::vector<int32_t>{240, 240}));
    const Decoded some = decode(spec, outputs, input, 0.0f, 7);
    EXPECT_EQ(some.counts, all.counts);
    for (int image = 0; image < 2; ++image) {
        const auto everybody = candidates_of(all, image), found = candidates_of(some, image);
        ASSERT_EQ(found.size(), 7u);
        for (const auto& c : found) {
            const auto& same = everybody[static_cast<size_t>(c.anchor)];
            EXPECT_EQ(c.box, same.box);
            EXPECT_EQ(c.score, same.score);
            EXPECT_EQ(c.keypoints, same.keypoints);
        }
    }
}

TEST_P(DecodeTest, ABatchIsItsImagesOneByOne) {
    const ModelSpec spec = make_spec(Layout::heads, 3, 3, 2, 5, 3);
    const Size input{96, 128};
    std::mt19937 random(seed());
    const NetworkOutputs batch = random_heads(spec, 4, input, random, 2.0f);
    const Decoded together = decode(spec, batch, input, 0.25f);
    for (int image = 0; image < 4; ++image) {
        NetworkOutputs alone = batch;
        for (size_t l = 0; l < alone.data.size(); ++l) {
            const size_t one = batch.data[l].size() / 4;
            alone.shapes[l][0] = 1;
            const auto begin = batch.data[l].begin() + static_cast<ptrdiff_t>(one * static_cast<size_t>(image));
            alone.data[l].assign(begin, begin + static_cast<ptrdiff_t>(one));
        }
        const auto expected = candidates_of(decode(spec, alone, input, 0.25f), 0);
        const auto found = candidates_of(together, image);
        ASSERT_EQ(found.size(), expected.size());
        ASSERT_GT(found.size(), 0u);
        for (size_t i = 0; i < found.size(); ++i) {
            EXPECT_EQ(found[i].anchor, expected[i].anchor);
            EXPECT_EQ(found[i].box, expected[i].box);
            EXPECT_EQ(found[i].score, expected[i].score);
            EXPECT_EQ(found[i].keypoints, expected[i].keypoints);
        }
    }
}

TEST(DecodeArguments, AreChecked) {
    const auto refuses = [](const ModelSpec& spec, const std::vector<std::vector<int64_t>>& shapes, const char* part) {
        const std::vector<const float*> data(shapes.size(), nullptr);
        TRTPOSE_EXPECT_ERROR(ops::Decode(spec).view(shapes, data, {64, 64}), ErrorCode::model, part);
    };
    const ModelSpec good = make_spec(Layout::heads, 2, 3, 1, 17, 3);
    const std::vector<std::vector<int64_t>> shapes = {{2, 171, 8, 8}, {2, 171, 4, 4}};
    EXPECT_EQ(ops::Decode(good).view(shapes, std::vector<const float*>(2), {64, 64}).total_anchors, 3 * 80);
    refuses(good, {shapes[0]}, "1 outputs where layout heads has 2");
    refuses(good, {}, "0 outputs");
    refuses(good, {{}, shapes[1]}, "no batch");
    refuses(good, {{0, 171, 8, 8}, shapes[1]}, "no batch");
    refuses(good, {{-1, 171, 8, 8}, shapes[1]}, "no batch");
    refuses(good, {{2, 171, 8, 8}, {1, 171, 4, 4}}, "output 1");
    refuses(good, {{2, 170, 8, 8}, shapes[1]}, "expects 2×171×8×8");
    refuses(good, {{2, 171, 8, 4}, shapes[1]}, "output 0");
    refuses(good, {{2, 3, 8, 8, 57}, shapes[1]}, "output 0");
    ModelSpec spec = good;
    spec.anchors.pop_back();
    refuses(spec, shapes, "as many anchors");
    spec = good;
    spec.anchors[1].pop_back();
    refuses(spec, shapes, "as many anchors");
    spec = good;
    spec.strides.clear();
    spec.anchors.clear();
    refuses(spec, shapes, "as many anchors");
    refuses(make_spec(Layout::heads, 9, 1, 1, 1, 3), shapes, "9 strides");
    refuses(make_spec(Layout::heads, 1, 9, 1, 1, 3), shapes, "9 anchors");
    for (const Layout layout : {Layout::decoded, Layout::channels_first, Layout::final}) {
        spec = good;
        spec.layout = layout;
        refuses(spec, {{1, 10}}, "check the model spec");
        refuses(spec, {{1, 10, 11}}, "check the model spec");
        refuses(spec, {{1, 1ll << 40, 1ll << 40}}, "too large");
    }
    spec.layout = Layout::decoded;
    refuses(spec, {{1, 0, 57}}, "0 anchors");
}

}  // namespace
}  // namespace trtpose::test
