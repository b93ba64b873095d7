// SPDX-License-Identifier: Apache-2.0
// Selection and fusion against what the reference code answers (positions in every bit), decode within a thousandth of
// a pixel.
#include <gtest/gtest.h>

#include <cmath>
#include <iomanip>
#include <sstream>

#include "families/kapao/options.hpp"
#include "families/kapao/view.hpp"
#include "support/goldens.hpp"
#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

/// Numbers of the reference's run beside the outputs.
struct Parameters {
    double conf, iou, conf_kp, iou_kp, conf_kp_person, tolerance;
    bool fusion = true, round_boxes = false;
};

struct Found {
    int count = 0;
    std::vector<float> boxes, scores, keypoints;
    std::vector<int32_t> class_ids;
};

std::string names_of(int keypoints) {
    std::string out = R"(["person")";
    for (int k = 0; k < keypoints; ++k) out += ", \"keypoint " + std::to_string(k) + "\"";
    return out + "]";
}

ModelSpec spec_of(int keypoints, const std::string& form, const Parameters& p) {
    std::ostringstream json;
    json << std::setprecision(17) << std::boolalpha
         << R"({"trtpose": 1, "family": "kapao", "imgsz": [64, 64], "strides": [8, 16, 32, 64], "names": )"
         << names_of(keypoints) << R"(, "kpt_shape": [)" << keypoints << R"(, 2], "form": ")" << form
         << R"(", "conf_kp": )" << p.conf_kp << R"(, "iou_kp": )" << p.iou_kp << R"(, "conf_kp_person": )"
         << p.conf_kp_person << R"(, "overwrite_tol": )" << p.tolerance << R"(, "fusion": )" << p.fusion
         << R"(, "round_boxes": )" << p.round_boxes << R"(, "zero_unreplaced": true})";
    return ModelSpec::from_json(json.str(), "the test");
}

class KapaoReaderTest : public OnDevice {
protected:
    /// The poses in rows of decoded numbers.
    Found read(const std::vector<float>& rows, int keypoints, const Parameters& p, Size picture, Size input,
               int max_det = 300) {
        const auto reader = families::find_family("kapao")->default_reader(spec_of(keypoints, "decoded", p));
        const int64_t fields = kapao::fields_of(keypoints), count = static_cast<int64_t>(rows.size()) / fields;
        Thresholds thresholds;
        thresholds.conf = static_cast<float>(p.conf);
        thresholds.iou = static_cast<float>(p.iou);
        thresholds.max_det = max_det;
        const auto memory = reader->plan({{{1, count, fields}}, DType::f32, 1, input}, thresholds, context().device);
        const auto slots = static_cast<size_t>(max_det);
        const auto data = array(rows);
        const auto held = array<char>(memory.held), scratch = array<char>(memory.scratch);
        const auto counts = array<int32_t>(1), class_ids = array<int32_t>(slots);
        const auto boxes = array<float>(4 * slots), scores = array<float>(slots),
                   points = array<float>(3 * slots * static_cast<size_t>(keypoints));
        const auto places = array(
            std::vector<math::Letterbox>{math::letterbox(picture.width, picture.height, input.width, input.height)});
        const void* const outputs[] = {data.data()};
        reader->read({outputs, 1}, 1, thresholds, places.data(),
                     {held.data(),
                      {scratch.data(), scratch.size()},
                      {counts.data(), {boxes.data(), scores.data(), class_ids.data(), points.data()}}},
                     context(), {});
        Found out{counts.get()[0], boxes.get(), scores.get(), points.get(), class_ids.get()};
        const auto n = static_cast<size_t>(out.count);
        out.boxes.resize(4 * n);
        out.scores.resize(n);
        out.keypoints.resize(3 * n * static_cast<size_t>(keypoints));
        out.class_ids.resize(n);
        return out;
    }

    void expect_scene(const Goldens& goldens, const std::string& scene) {
        const auto get = [&](const char* key) -> const GoldenArray& { return goldens.at(scene + "/" + key); };
        const auto& numbers = get("parameters").doubles;
        Parameters p{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
        p.fusion = get("use_keypoint_objects").bytes[0] != 0;
        const auto size = [&](const char* key) {
            const auto& two = get(key).longs;
            return Size{static_cast<int>(two[0]), static_cast<int>(two[1])};
        };
        const int keypoints = static_cast<int>(get("poses").shape[1]);
        const Found found = read(get("predictions").floats, keypoints, p, size("picture"), size("input"));
        EXPECT_EQ(found.scores, get("scores").floats);
        EXPECT_EQ(found.boxes, get("boxes_unrounded").floats);
        EXPECT_EQ(std::vector<double>(found.keypoints.begin(), found.keypoints.end()), get("poses").doubles);
        EXPECT_EQ(found.class_ids, std::vector<int32_t>(found.scores.size(), 0));
        p.round_boxes = true;
        EXPECT_EQ(read(get("predictions").floats, keypoints, p, size("picture"), size("input")).boxes,
                  get("boxes").floats);
    }
};
TRTPOSE_ON_EVERY_DEVICE(KapaoReaderTest);

/// Scenes by the names that an archive has for them.
std::vector<std::string> scenes_of(const Goldens& goldens) {
    std::vector<std::string> out;
    for (const auto& [key, array] : goldens) {
        if (const size_t end = key.rfind("/predictions"); end != std::string::npos) out.push_back(key.substr(0, end));
    }
    return out;
}

TEST_P(KapaoReaderTest, SomeScenesAreAsTheReferenceHasThem) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "kapao-some-scenes");
    EXPECT_GE(scenes_of(goldens).size(), 8u);
    for (const std::string& scene : scenes_of(goldens)) {
        SCOPED_TRACE(scene);
        expect_scene(goldens, scene);
    }
}

TEST_P(KapaoReaderTest, AllScenesAreAsTheReferenceHasThem) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "kapao-scenes");
    EXPECT_EQ(scenes_of(goldens).size(), 17u);
    for (const std::string& scene : scenes_of(goldens)) {
        SCOPED_TRACE(scene);
        expect_scene(goldens, scene);
    }
}

TEST_P(KapaoReaderTest, PhotographsAreAsTheReferenceHasThem) {
    for (const char* name : {"kapao-coco-narrow", "kapao-crowdpose-narrow"}) {
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        SCOPED_TRACE(name);
        const auto& numbers = goldens.at("parameters").doubles;
        Parameters p{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
        p.round_boxes = true;
        const auto& photo = goldens.at("photo_size").longs;
        const auto& input = goldens.at("photo_input").shape;
        const int keypoints = static_cast<int>(goldens.at("poses").shape[1]);
        const Found found = read(goldens.at("photo_decoded").floats, keypoints, p,
                                 {static_cast<int>(photo[0]), static_cast<int>(photo[1])},
                                 {static_cast<int>(input[1]), static_cast<int>(input[2])});
        EXPECT_EQ(found.scores, goldens.at("scores").floats);
        EXPECT_EQ(found.boxes, goldens.at("boxes").floats);
        EXPECT_EQ(std::vector<double>(found.keypoints.begin(), found.keypoints.end()), goldens.at("poses").doubles);
    }
}

/// Rows of a network with two keypoints.
struct Scene {
    std::vector<float> rows;

    void add(float x, float y, float side, float score, int class_id, const std::vector<float>& coordinates) {
        rows.insert(rows.end(), {x, y, side, side, 1.0f});
        for (int c = 0; c < 3; ++c) rows.push_back(c == class_id ? score : 0.0f);
        rows.insert(rows.end(), coordinates.begin(), coordinates.end());
    }
    void person(float x, float y, float score, const std::vector<float>& points) { add(x, y, 40, score, 0, points); }
    void object(int keypoint, float x, float y, float score) { add(x, y, 4, score, 1 + keypoint, {0, 0, 0, 0}); }
};

constexpr Parameters kPlain{0.25, 0.65, 0.125, 0.25, 0.375, 8};
constexpr Size kFrame{128, 128};

TEST_P(KapaoReaderTest, TheNearestPersonTakesAKeypointObject) {
    Scene scene;
    scene.person(30, 30, 0.75f, {20, 20, 40, 40});
    scene.person(90, 90, 0.5f, {80, 80, 28, 20});
    scene.object(0, 27, 20, 0.25f);  // 7 from the first person's keypoint 0, and keypoint 1 of the other is no matter
    scene.object(0, 80, 88, 0.5f);   // 8 away, which is not below 8
    scene.object(1, 40, 44, 0.75f);
    scene.object(1, 43, 44, 0.5f);  // 3 from where the better one moved it, but weaker
    const Found found = read(scene.rows, 2, kPlain, kFrame, kFrame);
    EXPECT_EQ(found.scores, (std::vector<float>{0.75f, 0.5f}));
    EXPECT_EQ(found.keypoints, (std::vector<float>{27, 20, 0.25f, 40, 44, 0.75f, 80, 80, 0, 28, 20, 0}));
}

TEST_P(KapaoReaderTest, FewerPeopleThanThereAreDoNotChangeWhoTakesAnObject) {
    Scene scene;
    scene.person(30, 30, 0.75f, {20, 20, 40, 40});
    scene.person(90, 90, 0.5f, {24, 20, 80, 80});
    scene.object(0, 25, 20, 0.25f);
    const Found found = read(scene.rows, 2, kPlain, kFrame, kFrame, 1);
    EXPECT_EQ(found.keypoints, (std::vector<float>{20, 20, 0, 40, 40, 0}));
}

TEST_P(KapaoReaderTest, WeakPeopleTakeNothingAndWhatIsNoNumberIsNotThere) {
    Scene scene;
    scene.person(30, 30, 0.375f, {20, 20, 40, 40});  // not above 0.375
    scene.person(90, 90, 0.5f, {NAN, 80, 80, INFINITY});
    scene.object(0, 20, 20, 0.5f);
    const Found found = read(scene.rows, 2, kPlain, kFrame, kFrame);
    EXPECT_EQ(found.keypoints, (std::vector<float>{0, 0, 0, 0, 0, 0, 20, 20, 0, 40, 40, 0}));
}

TEST(KapaoConfidence, KeypointsNeverReplacedAreSeen) {
    EXPECT_EQ(kapao::confidence_of(0.3f, 0.9f, false), 0.3f);
    EXPECT_EQ(kapao::confidence_of(0, 0.5f, false), 0.75f);
    EXPECT_GT(kapao::confidence_of(0, 0.001f, false), 0.5f);
    EXPECT_EQ(kapao::confidence_of(0, 0.5f, true), 0.0f);
    EXPECT_EQ(kapao::confidence_of(kapao::kMissing, 0.5f, false), 0.0f);
}

/// Outputs of a golden's heads in another form, with the anchors of the file.
struct Decoding {
    const Goldens& goldens;
    int keypoints;
    kapao::Predictions all;
    std::vector<std::vector<float>> data;

    Decoding(const Goldens& from, const std::string& form) : goldens(from) {
        keypoints = static_cast<int>(from.at("poses").shape[1]);
        ModelSpec spec = spec_of(keypoints, "decoded", {});
        const auto& anchors = from.at("anchors");
        for (int64_t l = 0; l < anchors.shape[0]; ++l) {
            auto& level = spec.anchors.emplace_back();
            for (int64_t a = 0; a < anchors.shape[1]; ++a) {
                const auto at = static_cast<size_t>((l * anchors.shape[1] + a) * 2);
                level.emplace_back(anchors.floats[at], anchors.floats[at + 1]);
            }
        }
        const auto& images = from.at("images").shape;
        families::OutputShapes shapes{
            {}, DType::f32, static_cast<int>(images[0]), {static_cast<int>(images[2]), static_cast<int>(images[3])}};
        for (int l = 0; l < 4; ++l) {
            const GoldenArray& head = from.at("head" + std::to_string(l));
            shapes.shapes.push_back(head.shape);
            data.push_back(head.floats);
        }
        all = kapao::view_of(spec, kapao::Form::heads, shapes);
        if (form == "sigmoid") shapes.shapes = {from.at("decoded").shape};
        std::vector<const void*> pointers;
        for (const auto& values : data) pointers.push_back(values.data());
        kapao::place_data(kapao::Form::heads, pointers, all);
        if (form != "sigmoid") return;
        data = {listed()};
        all = kapao::view_of(spec, kapao::Form::sigmoid, shapes);
        const void* const list = data[0].data();
        kapao::place_data(kapao::Form::sigmoid, {&list, 1}, all);
    }

    /// The heads' sigmoids as one list.
    std::vector<float> listed() const {
        std::vector<float> out;
        for (int image = 0; image < all.batch; ++image) {
            for (int i = 0; i < all.total_anchors; ++i) {
                const auto row = kapao::read_row(all, image, i);
                for (int f = 0; f < kapao::fields_of(keypoints); ++f) out.push_back(row(f));
            }
        }
        return out;
    }

    void compare() const {
        const auto& expected = goldens.at("decoded").floats;
        const auto fields = static_cast<size_t>(kapao::fields_of(keypoints));
        double pixels = 0, scores = 0;
        for (int image = 0; image < all.batch; ++image) {
            for (int i = 0; i < all.total_anchors; ++i) {
                const float* want =
                    expected.data() +
                    (static_cast<size_t>(image) * static_cast<size_t>(all.total_anchors) + static_cast<size_t>(i)) *
                        fields;
                const auto row = kapao::read_row(all, image, i);
                const math::Box box = kapao::read_box(all, row);
                const float got[] = {(box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2, box.x2 - box.x1, box.y2 - box.y1};
                for (size_t f = 0; f < 4; ++f)
                    pixels = std::max(pixels, std::abs(static_cast<double>(got[f]) - want[f]));
                for (int f = kapao::kObjectness; f < kapao::coordinates_of(keypoints); ++f)
                    scores = std::max(scores, std::abs(static_cast<double>(row(f)) - want[f]));
                for (int k = 0; k < keypoints; ++k) {
                    const kapao::Point point = kapao::read_keypoint(all, row, k);
                    const float* at = want + kapao::coordinates_of(keypoints) + 2 * k;
                    pixels = std::max({pixels, std::abs(static_cast<double>(point.x) - at[0]),
                                       std::abs(static_cast<double>(point.y) - at[1])});
                }
            }
        }
        EXPECT_LT(pixels, 1e-3);
        EXPECT_LT(scores, 1e-6);
    }
};

TEST(KapaoDecode, HeadsAndTheirSigmoidsAreAsTheReferenceDecodesThem) {
    for (const char* name : {"kapao-coco-narrow", "kapao-crowdpose-narrow"}) {
        TRTPOSE_GOLDENS_OR_SKIP(goldens, name);
        for (const char* form : {"heads", "sigmoid"}) {
            SCOPED_TRACE(std::string(name) + ", " + form);
            Decoding(goldens, form).compare();
        }
    }
}

}  // namespace
}  // namespace trtpose::test
