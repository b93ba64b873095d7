// SPDX-License-Identifier: Apache-2.0
// Which files are MoveNet's without a spec, and what the others are told.
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/model_files.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

constexpr int64_t kInt32 = 6, kUint8 = 2;  // of TensorProto
using Outputs = std::vector<std::pair<std::string, Dims>>;

/// A network of several people that gives these rows, each of the same person: one place for all keypoints.
class People final : public NetworkProbe {
public:
    People(size_t rows, float place, float score, std::vector<float> box) {
        for (size_t row = 0; row < rows; ++row) {
            for (int k = 0; k < 17; ++k) numbers_.insert(numbers_.end(), {place, place, score});
            numbers_.insert(numbers_.end(), box.begin(), box.end());
            numbers_.push_back(score);
        }
    }
    std::vector<std::vector<int64_t>> shapes(Size) override { throw Error(ErrorCode::model, "not to be asked"); }
    std::vector<float> numbers(size_t index, Size size) override {
        EXPECT_EQ(index, 0u);
        EXPECT_EQ(size, (Size{192, 256}));
        return numbers_;
    }

private:
    std::vector<float> numbers_;
};

class MoveNetRecognition : public WithModelFiles {
protected:
    static OnnxModel model(const Dims& input, const Outputs& outputs, int64_t type = 1, const char* name = "input") {
        OnnxModel out;
        out.inputs = {{name, input}};
        out.input_type = type;
        out.outputs = outputs;
        return out;
    }
    /// What finding the spec says; empty where one is found.
    std::string refusal(const OnnxModel& model, const std::string& name = "net.onnx", NetworkProbe* probe = nullptr) {
        try {
            find_spec(read(model.text(), name), {}, probe);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::model);
            return error.what();
        }
        return {};
    }
    static bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
};

Outputs four(const std::vector<std::string>& names, int64_t keypoints = 17, int64_t side = 16) {
    return {{names[0], {1, keypoints, side, side}},
            {names[1], {1, 1, side, side}},
            {names[2], {1, 2 * keypoints, side, side}},
            {names[3], {1, 2 * keypoints, side, side}}};
}
const std::vector<std::string> kNamed = {"heatmap", "center", "regress", "offset"};
const std::vector<std::string> kNumbered = {"output1", "output2", "output3", "output4"};
const Dims kInput = {1, 3, 64, 64};

TEST_F(MoveNetRecognition, PeopleOfAPortThatTakesChannelsFirst) {
    for (const int64_t people : {6, 10, 20}) {
        OnnxModel file = model({1, 3, 192, 256}, {{"output", {1, people, 56}}});
        // It normalises by itself, which is no doubt here.
        file.nodes = {Proto().bytes(1, "input").bytes(2, "output").bytes(4, "Mul")};
        People probe(static_cast<size_t>(people), 1.1f, 0.5f, {0.1f, 0, 0.1f, 1});
        const FoundSpec found = find_spec(read(file.text()), {}, &probe);
        EXPECT_EQ(found.spec.family, "movenet");
        EXPECT_TRUE(says(found.spec.to_json(), R"("form": "multi")"));
        EXPECT_EQ(found.spec.imgsz, (Size{192, 256}));
        EXPECT_EQ(found.spec.std[0], 1);
        EXPECT_EQ(found.spec.pad, 0);
        EXPECT_EQ(found.spec.letterbox.placement, math::Placement::top_left);
        EXPECT_EQ(found.spec.max_stride(), 32);
    }
    EXPECT_FALSE(says(refusal(model(kInput, {{"output", {1, 7, 56}}})), "MoveNet"));
    OnnxModel others = model(kInput, {{"output0", {1, 20, 56}}});
    others.metadata = ultralytics();
    EXPECT_FALSE(says(refusal(others), "MoveNet"));
    EXPECT_TRUE(says(refusal(model({1, 3, -1, -1}, {{"output", {1, 6, 56}}})), "its input size is open"));
}

TEST_F(MoveNetRecognition, OneRunTellsPeopleFromOtherListsAsLarge) {
    const OnnxModel file = model({1, 3, 192, 256}, {{"output", {1, 6, 56}}});
    const std::vector<float> box = {0.1f, 0, 0.1f, 1};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (People probe : {People(6, 30, 0.5f, box), People(6, 0.5f, 1.5f, box), People(6, 0, 0, {0, 0, 0, 0}),
                         People(6, 0.5f, 0.5f, {0.2f, 0, 0.1f, 1}), People(6, 0.5f, 0.5f, {0, 0, 40, 60}),
                         People(6, nan, 0.5f, box)}) {
        const std::string why = refusal(file, "net.onnx", &probe);
        EXPECT_TRUE(says(why, "one run shows that it holds none of MoveNet's people")) << why;
    }
    // What cannot be run here is not guessed.
    EXPECT_TRUE(says(refusal(file), "running it once, which tells, was not possible (nobody could run it)"));
}

TEST_F(MoveNetRecognition, HeadsByTheirNames) {
    const FoundSpec own = find(model(kInput, four(kNamed, 5)));
    EXPECT_TRUE(says(own.spec.to_json(), R"("form": "single_heads")"));
    EXPECT_EQ(own.spec.keypoints, 5);
    EXPECT_EQ(own.spec.strides, (std::vector<int>{4, 32}));
    // In whatever order the file has them.
    Outputs shuffled = four(kNamed, 5);
    std::swap(shuffled[0], shuffled[3]);
    EXPECT_EQ(find(model(kInput, shuffled)).spec.outputs, kNamed);

    const FoundSpec reproduction = find(model(kInput, four(kNumbered), 1, "input1"));
    const std::string json = reproduction.spec.to_json();
    for (const char* key : {R"("pairs": "xy")", R"("activated": true)", R"("rounded": true)", R"("floor": 0.1)"})
        EXPECT_TRUE(says(json, key)) << json;
    EXPECT_EQ(ModelSpec::from_json(json, "again").to_json(), json);

    Outputs six = four(kNamed, 5);
    six.push_back({"box_scale", {1, 2, 16, 16}});
    six.push_back({"box_offset", {1, 2, 16, 16}});
    EXPECT_TRUE(says(find(model(kInput, six)).spec.to_json(), R"("form": "multi_heads")"));
}

TEST_F(MoveNetRecognition, HeadsThatNobodyNamedAreNotGuessed) {
    const std::string why = refusal(model(kInput, four(kNumbered), 1, "picture"));
    EXPECT_TRUE(says(why, "their names do not say whether they hold logits")) << why;
    EXPECT_TRUE(says(why, "--spec") && says(why, "--arch movenet")) << why;
    const std::string one = refusal(model(kInput, {{"output", {1, 1, 17, 3}}}));
    EXPECT_TRUE(says(one, "as MoveNet gives one person")) << one;
    // Another grid is another network's.
    EXPECT_FALSE(says(refusal(model(kInput, four(kNamed, 17, 8))), "MoveNet"));
}

TEST_F(MoveNetRecognition, OtherFormsOfInputAreToldTheCommandThatBringsThemHere) {
    const Outputs one = {{"output_0", {1, 1, 17, 3}}}, six = {{"output_0", {1, 6, 56}}};
    for (const int64_t type : {int64_t{1}, kInt32, kUint8}) {
        EXPECT_TRUE(says(refusal(model({1, 192, 192, 3}, one, type)), "channels last (NHWC)"));
        EXPECT_TRUE(says(refusal(model({1, 192, 192, 3}, one, type)), "trtpose export /"));
        EXPECT_TRUE(says(refusal(model({1, -1, -1, 3}, six, type)), "trtpose export /"));
        EXPECT_TRUE(says(refusal(model({1, 64, 64, 3}, four(kNamed), type)), "trtpose export /"));
    }
    // A copy is made of files that take one picture.
    EXPECT_FALSE(says(refusal(model({2, 192, 192, 3}, {{"output_0", {2, 1, 17, 3}}})), "trtpose export /"));
    EXPECT_TRUE(says(refusal(model(kInput, four(kNamed), kInt32)), "is of type int32"));
    EXPECT_TRUE(says(refusal(model(kInput, four(kNamed), kInt32)), "net.onnx"));
    EXPECT_TRUE(says(refusal(model({1, 192, 192, 3}, one, kInt32), "my net's.onnx"), "/my net'\\''s.onnx'"));
    // What nobody would adopt is told what it was.
    EXPECT_TRUE(
        says(refusal(model({1, 64, 64, 3}, {{"output", {1, 300, 57}}})), "export the network with channels first"));
}

TEST_F(MoveNetRecognition, AFileThatIsNotAsItsSpecSaysIsRefused) {
    const std::string spec = R"({"trtpose": 1, "family": "movenet", "form": "single_heads", "imgsz": [64, 64],
        "strides": [4, 32], "names": ["person"], "kpt_shape": [17, 3]})";
    EXPECT_NO_THROW(find(model(kInput, four(kNumbered)), spec));
    const auto refused = [&](const Outputs& outputs, const std::string& part) {
        try {
            find(model(kInput, outputs), spec);
        } catch (const Error& error) {
            return says(error.what(), part);
        }
        return false;
    };
    EXPECT_TRUE(refused({{"a", {1, 17, 16, 16}}}, "form single_heads needs 4 outputs, it has 1"));
    EXPECT_TRUE(refused(four(kNumbered, 5), "with 17 keypoints needs"));
}

}  // namespace
}  // namespace trtpose::test
