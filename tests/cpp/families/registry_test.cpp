// SPDX-License-Identifier: Apache-2.0
// A second family beside the built-in one: how specs are given to families, and files to exactly one.
#include <gtest/gtest.h>

#include "families/family.hpp"
#include "model/spec_reader.hpp"
#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

constexpr const char* kRadius = "dot_radius";

/// Networks whose only output is called dots.
class Dots final : public families::Family {
public:
    const char* name() const override { return "dots"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int) const override {
        throw Error(ErrorCode::model, "a reader of " + spec.name);
    }
    std::vector<std::string> kept_keys() const override { return {kRadius, "layout"}; }
    void check_fields(const SpecReader& json, const ModelSpec&) const override {
        json.whole(json.need(kRadius), kRadius, 1, 9);
    }
    std::string misfit(const ModelSpec&, const ModelFile& file) const override {
        return file.outputs.front().name == "dots" ? "" : "no dots come out of it";
    }
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata&, NetworkProbe*) const override {
        if (file.outputs.front().name != "dots") return {};
        ModelSpec spec;
        spec.family = name();
        spec.name = "by its dots";
        spec.imgsz = {64, 64};
        spec.names = {"person"};
        spec.keypoints = 2;
        spec.extra = {{kRadius, "3"}};
        return {{spec}, {}};
    }
};

class Registry : public WithModelFiles {
protected:
    static void SetUpTestSuite() {
        static const Dots dots;
        if (!families::find_family(dots.name())) families::add_family(dots);
    }

    static OnnxModel model(const std::string& output, const Dims& shape) {
        OnnxModel out;
        out.outputs = {{output, shape}};
        return out;
    }
};

const char* const kDots = R"({"trtpose": 1, "name": "net", "family": "dots", "imgsz": [64, 64], "outputs": ["dots"],
 "names": ["person"], "kpt_shape": [2, 3], "dot_radius": 4, "layout": "of its own"})";

std::string dots_with(const std::string& from, const std::string& to) {
    std::string text = kDots;
    return text.replace(text.find(from), from.size(), to);
}

ModelSpec parse(const std::string& text) { return ModelSpec::from_json(text, "spec.json"); }

TEST_F(Registry, FieldsOfAnotherFamilyAreKept) {
    const ModelSpec spec = parse(kDots);
    EXPECT_EQ(spec.family, "dots");
    EXPECT_EQ(&families::family_of(spec), families::find_family("dots"));
    EXPECT_EQ(spec.max_stride(), 1);
    EXPECT_EQ(
        spec.to_json(),
        R"({"trtpose": 1, "name": "net", "family": "dots", "imgsz": [64, 64], "strides": [], "outputs": ["dots"], )"
        R"("names": ["person"], "kpt_shape": [2, 3], "sigmas": [], "color": "rgb", "mean": [0, 0, 0], )"
        R"("std": [255, 255, 255], "pad": 114, "dot_radius": 4, "layout": "of its own"})");
    EXPECT_EQ(parse(spec.to_json()).to_json(), spec.to_json());
}

TEST_F(Registry, WithoutAFamilyASpecIsOneOfAnchorGrids) {
    const std::string grid =
        R"("imgsz": [64, 64], "layout": "decoded", "strides": [8], "names": ["a"], "kpt_shape": [2, 3]})";
    const ModelSpec unsaid = parse("{" + grid), said = parse(R"({"family": "anchor_grid", )" + grid);
    EXPECT_EQ(unsaid.family, "anchor_grid");
    EXPECT_EQ(unsaid.to_json(), said.to_json());
    EXPECT_EQ(said.to_json(),
              R"({"trtpose": 1, "name": "", "layout": "decoded", "imgsz": [64, 64], "strides": [8], "anchors": [], )"
              R"("outputs": [], "names": ["a"], "kpt_shape": [2, 3], "sigmas": [], "color": "rgb", )"
              R"("mean": [0, 0, 0], "std": [255, 255, 255], "pad": 114})");
}

TEST_F(Registry, EachFamilyChecksItsFields) {
    TRTPOSE_EXPECT_ERROR(parse(dots_with("dot_radius\": 4", "dot_radius\": 10")), ErrorCode::model,
                         "spec.json: dot_radius holds 10");
    TRTPOSE_EXPECT_ERROR(parse(dots_with("dot_radius", "radius")), ErrorCode::model, "lacks dot_radius");
    TRTPOSE_EXPECT_ERROR(parse(dots_with(R"("family": "dots", )", "")), ErrorCode::model, "layout is 'of its own'");
    TRTPOSE_EXPECT_ERROR(parse(dots_with("[\"person\"]", "[]")), ErrorCode::model, "names is empty");
}

TEST_F(Registry, AnUnknownFamilyIsRefusedWithThoseThatAreKnown) {
    TRTPOSE_EXPECT_ERROR(parse(dots_with("\"dots\", \"imgsz", "\"lines\", \"imgsz")), ErrorCode::model,
                         "family is 'lines', expected " + families::family_names());
    TRTPOSE_EXPECT_ERROR(parse(dots_with("\"dots\", \"imgsz", "3, \"imgsz")), ErrorCode::model, "family holds 3");
    ModelSpec spec = parse(kDots);
    spec.family = "lines";
    TRTPOSE_EXPECT_ERROR(families::family_of(spec), ErrorCode::model, " or dots");
    TRTPOSE_EXPECT_ERROR(spec.to_json(), ErrorCode::model, "family is 'lines'");
}

TEST_F(Registry, ASpecIsComparedWithTheFileByItsFamily) {
    EXPECT_EQ(find(model("dots", {1, 5}), kDots).spec.family, "dots");
    TRTPOSE_EXPECT_ERROR(find(model("lines", {1, 5}), dots_with(R"("outputs": ["dots"],)", "")), ErrorCode::model,
                         "no dots come out of it; the model spec does not fit this model");
}

TEST_F(Registry, AFileThatOneFamilyReadsNeedsNoSpec) {
    const FoundSpec found = find(model("dots", {1, 5}));
    EXPECT_EQ(found.spec.family, "dots");
    EXPECT_EQ(found.origin, "names and shapes");
    EXPECT_EQ(find(model("output0", {1, 56, 84})).spec.family, "anchor_grid");
}

TEST_F(Registry, AFileThatSeveralFamiliesReadIsRefused) {
    const std::string names = "its outputs may be those of the families anchor_grid and dots; give the model spec";
    TRTPOSE_EXPECT_ERROR(find(model("dots", {1, 56, 84})), ErrorCode::model, names);
    // Also where one of them lacks something: anchors, strides, the size.
    TRTPOSE_EXPECT_ERROR(find(model("dots", {1, 171, 8, 8})), ErrorCode::model, names);
    TRTPOSE_EXPECT_ERROR(find(model("dots", {1, 300, 57})), ErrorCode::model, names);
    OnnxModel open = model("dots", {1, 56, -1});
    open.inputs = {{"images", {1, 3, -1, -1}}};
    TRTPOSE_EXPECT_ERROR(find(open), ErrorCode::model, names);
    EXPECT_EQ(find(model("dots", {1, 56, 84}), kDots).spec.family, "dots");
}

TEST_F(Registry, ANameIsGivenOnce) {
    const Dots again;
    TRTPOSE_EXPECT_ERROR(families::add_family(again), ErrorCode::input, "dots");
}

}  // namespace
}  // namespace trtpose::test
