// SPDX-License-Identifier: Apache-2.0
// What every family owes to who runs it, on every device.
#include <algorithm>
#include <set>

#include "families/family_example.hpp"
#include "model/literal.hpp"
#include "model/spec_keys.hpp"
#include "model/spec_reader.hpp"
#include "support/test_device.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

using Outputs = std::vector<std::vector<float>>;

/// What one read wrote, slots nobody is in too.
struct Found {
    std::vector<int32_t> counts, class_ids;
    std::vector<float> boxes, scores, keypoints;
};

/// The filled slots of one image, bit for bit.
std::vector<char> poses_of(const Found& found, size_t image, int max_det, int keypoints) {
    std::vector<char> bytes;
    const auto add = [&](const auto& values, size_t each) {
        const auto* const from =
            reinterpret_cast<const char*>(values.data() + image * static_cast<size_t>(max_det) * each);
        bytes.insert(bytes.end(), from, from + static_cast<size_t>(found.counts[image]) * each * sizeof(values[0]));
    };
    add(found.scores, 1);
    add(found.boxes, 4);
    add(found.class_ids, 1);
    add(found.keypoints, static_cast<size_t>(keypoints) * 3);
    return bytes;
}

/// Images one behind the other, output by output.
Outputs batch_of(const std::vector<Outputs>& images) {
    Outputs out(images.front().size());
    for (const Outputs& image : images) {
        for (size_t o = 0; o < image.size(); ++o) out[o].insert(out[o].end(), image[o].begin(), image[o].end());
    }
    return out;
}

std::unique_ptr<TestDevice> open_cpu() {
    std::string why;
    for (const auto& entry : device_entries()) {
        if (entry.name == "cpu") return entry.open(&why);
    }
    return nullptr;
}

struct Case {
    std::string device;
    const families::Family* family;
    const FamilyExample* example;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.example->name << " on " << c.device; }

std::vector<Case> all_cases() {
    std::vector<Case> out;
    for (const FamilyUnderTest& under_test : families_under_test()) {
        for (const FamilyExample& example : under_test.examples) {
            for (const std::string& device : device_names()) out.push_back({device, under_test.family, &example});
        }
    }
    return out;
}

class FamilyContract : public testing::TestWithParam<Case> {
protected:
    void SetUp() override {
        for (const auto& entry : device_entries()) {
            std::string why;
            if (entry.name != GetParam().device) continue;
            device_ = entry.open(&why);
            if (!device_) GTEST_SKIP() << why;
        }
    }

    const FamilyExample& example() const { return *GetParam().example; }
    TestDevice& device() { return *device_; }

    Outputs make(Holds holds) { return example().make(holds, random_); }

    families::OutputShapes shapes(int batch) const {
        families::OutputShapes out{example().shapes, DType::f32, batch, example().input};
        for (auto& shape : out.shapes) shape[0] = batch;
        return out;
    }

    static math::Letterbox placement(const FamilyExample& example) {
        return math::letterbox(3 * example.input.width / 2, example.input.height, example.input.width,
                               example.input.height);
    }

    /// Read the first `count` images of a batch of `batch`, in blocks exactly as long as planned.
    Found read(TestDevice& on, const Outputs& outputs, int batch, int count, const Thresholds& thresholds) {
        const auto reader = GetParam().family->default_reader(example().spec);
        const families::ReaderMemory memory = reader->plan(shapes(batch), thresholds, on.context().device);
        std::vector<DeviceArray<float>> arrays;
        std::vector<const void*> data;
        for (const auto& values : outputs) {
            arrays.emplace_back(on, values);
            data.push_back(arrays.back().data());
        }
        const auto images = static_cast<size_t>(batch), slots = images * static_cast<size_t>(thresholds.max_det);
        const DeviceArray<char> held(on, memory.held), scratch(on, memory.scratch);
        const DeviceArray<int32_t> counts(on, images), class_ids(on, slots);
        const DeviceArray<float> boxes(on, slots * 4), scores(on, slots);
        const DeviceArray<float> keypoints(on, slots * static_cast<size_t>(example().spec.keypoints) * 3);
        const DeviceArray<math::Letterbox> placements(on, std::vector(images, placement(example())));
        int marks = 0;
        reader->read(data, count, thresholds, placements.data(),
                     {held.data(),
                      {scratch.data(), scratch.size()},
                      {counts.data(), {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}}},
                     on.context(), [&] { ++marks; });
        EXPECT_EQ(marks, 1);
        return {counts.get(), class_ids.get(), boxes.get(), scores.get(), keypoints.get()};
    }
    Found read(const Outputs& outputs, int batch, const Thresholds& thresholds = {}) {
        return read(device(), outputs, batch, batch, thresholds);
    }

    std::vector<char> poses(const Found& found, size_t image, const Thresholds& thresholds = {}) const {
        return poses_of(found, image, thresholds.max_det, example().spec.keypoints);
    }

    std::mt19937 random_{20240611};

private:
    std::unique_ptr<TestDevice> device_;
};

INSTANTIATE_TEST_SUITE_P(Families, FamilyContract, testing::ValuesIn(all_cases()), [](const auto& instance) {
    return instance.param.example->name + "_" + instance.param.device;
});

TEST_P(FamilyContract, NobodyIsFoundWhereNobodyIs) {
    EXPECT_EQ(read(batch_of({make(Holds::nobody), make(Holds::nobody)}), 2).counts, std::vector<int32_t>(2, 0));
}

TEST_P(FamilyContract, WhatIsNoNumberIsNobody) {
    // Beside an image in which there is somebody.
    const Outputs there = make(Holds::everybody);
    const Found found = read(batch_of({make(Holds::not_a_number), there, make(Holds::not_a_number)}), 3);
    EXPECT_EQ(found.counts[0], 0);
    EXPECT_EQ(found.counts[2], 0);
    EXPECT_GT(found.counts[1], 0);
    EXPECT_EQ(poses(found, 1), poses(read(there, 1), 0));
}

TEST_P(FamilyContract, OfMoreThanMaxDetTheBestAreKept) {
    const Outputs outputs = batch_of({make(Holds::everybody), make(Holds::everybody)});
    Thresholds few, many;
    few.max_det = 5;
    many.max_det = 15;
    const Found first = read(outputs, 2, few), more = read(outputs, 2, many);
    const auto given = [&](int most) { return example().most ? std::min(example().most, most) : most; };
    for (size_t image = 0; image < 2; ++image) {
        ASSERT_EQ(first.counts[image], given(few.max_det));
        ASSERT_EQ(more.counts[image], given(many.max_det));
        const auto begin = more.scores.begin() + static_cast<ptrdiff_t>(image) * many.max_det;
        EXPECT_TRUE(std::is_sorted(begin, begin + more.counts[image], std::greater<>()));
        Found head = more;
        head.counts[image] = first.counts[image];
        EXPECT_EQ(poses(first, image, few), poses(head, image, many));
    }
}

TEST_P(FamilyContract, SlotKEqualsTheFrameAlone) {
    std::vector<Outputs> images;
    for (int i = 0; i < 4; ++i) images.push_back(make(i == 2 ? Holds::nobody : Holds::somebody));
    for (const bool oks : {false, true}) {
        Thresholds thresholds;
        thresholds.oks = oks && !example().spec.sigmas.empty();
        thresholds.max_det = 50;
        const Found all = read(batch_of(images), 4, thresholds);
        for (size_t k = 0; k < images.size(); ++k) {
            const Found alone = read(images[k], 1, thresholds);
            ASSERT_EQ(all.counts[k], alone.counts[0]) << "slot " << k;
            EXPECT_EQ(alone.counts[0] > 0, k != 2);
            EXPECT_EQ(poses(all, k, thresholds), poses(alone, 0, thresholds)) << "slot " << k;
        }
    }
}

TEST_P(FamilyContract, WhatLiesBehindIsLeftAsItIs) {
    // Two of a batch of four, in the last two of which there would be somebody.
    const Outputs outputs =
        batch_of({make(Holds::somebody), make(Holds::nobody), make(Holds::everybody), make(Holds::everybody)});
    const Thresholds thresholds;
    const Found found = read(device(), outputs, 4, 2, thresholds);
    const auto untouched = [](const auto& values, size_t first) {
        const auto* const bytes = reinterpret_cast<const unsigned char*>(values.data());
        return std::all_of(bytes + first * sizeof(values[0]), bytes + values.size() * sizeof(values[0]),
                           [](unsigned char b) { return b == TestDevice::kUnwritten; });
    };
    const auto slots = static_cast<size_t>(thresholds.max_det),
               pose = static_cast<size_t>(example().spec.keypoints) * 3;
    EXPECT_GT(found.counts[0], 0);
    EXPECT_EQ(found.counts[1], 0);
    EXPECT_TRUE(untouched(found.counts, 2));
    EXPECT_TRUE(untouched(found.scores, slots));
    EXPECT_TRUE(untouched(found.boxes, slots * 4));
    EXPECT_TRUE(untouched(found.class_ids, slots));
    EXPECT_TRUE(untouched(found.keypoints, slots * pose));
}

TEST_P(FamilyContract, EqualsTheCpuInEveryBit) {
    const auto cpu = open_cpu();
    ASSERT_TRUE(cpu);
    for (int i = 0; i < 8; ++i) {
        SCOPED_TRACE(i);
        const Outputs outputs = batch_of({make(Holds::somebody), make(i % 2 ? Holds::everybody : Holds::somebody)});
        Thresholds thresholds;
        thresholds.conf = 0.2f + 0.05f * static_cast<float>(i);
        thresholds.iou = 0.3f + 0.08f * static_cast<float>(i);
        thresholds.agnostic = i % 4 >= 2;
        thresholds.oks = i >= 4 && !example().spec.sigmas.empty();
        const Found here = read(device(), outputs, 2, 2, thresholds), there = read(*cpu, outputs, 2, 2, thresholds);
        ASSERT_EQ(here.counts, there.counts);
        for (size_t image = 0; image < 2; ++image) {
            EXPECT_GT(here.counts[image], 0);
            EXPECT_EQ(poses(here, image, thresholds), poses(there, image, thresholds));
        }
    }
}

TEST_P(FamilyContract, PlansForItsOwnShapesAlone) {
    const auto reader = GetParam().family->default_reader(example().spec);
    const auto expected = reader->outputs();
    families::OutputShapes right = shapes(2);
    ASSERT_EQ(expected.size(), right.shapes.size());
    for (size_t o = 0; o < expected.size(); ++o) {
        ASSERT_EQ(expected[o].size(), right.shapes[o].size());
        for (size_t i = 0; i < expected[o].size(); ++i)
            EXPECT_TRUE(expected[o][i] < 0 || expected[o][i] == right.shapes[o][i]) << "output " << o << " size " << i;
    }
    if (const Size told = reader->input_size(right.shapes); told.height) {
        EXPECT_EQ(told, right.input);
    }
    const auto refused = [&](const families::OutputShapes& wrong) {
        try {
            reader->plan(wrong, {}, device().context().device);
        } catch (const Error& error) {
            return error.code() == ErrorCode::model;
        }
        return false;
    };
    EXPECT_FALSE(refused(right));
    for (size_t o = 0; o < right.shapes.size(); ++o) {
        for (size_t i = 0; i < right.shapes[o].size(); ++i) {
            families::OutputShapes wrong = right;
            wrong.shapes[o][i] += 1;
            // How many there are in a list is free, unless its rows are those of a grid or of another output.
            const bool list = right.shapes[o].size() == 3 && expected[o][i] < 0 && i > 0 && !example().counted;
            EXPECT_EQ(refused(wrong), !list) << "output " << o << " size " << i;
        }
    }
    families::OutputShapes other_batch = right;
    other_batch.batch = 3;
    EXPECT_TRUE(refused(other_batch));
}

/// So that a key of one family in another one's spec is refused by name, and one that is misspelt is told.
TEST(FamilyRegistry, EveryKeyThatAFamilyReadsIsStated) {
    for (const FamilyUnderTest& under_test : families_under_test()) {
        const families::Family& family = *under_test.family;
        std::set<std::string> stated, asked;
        for (const auto& keys : {family.keys(), family.kept_keys()}) stated.insert(keys.begin(), keys.end());
        for (const FamilyExample& example : under_test.examples) {
            const std::string json = example.spec.to_json();
            const Literal root = parse_literal(json);
            const SpecReader reader(root, example.name);
            ModelSpec spec = example.spec;
            family.read_fields(reader, spec);
            family.check_fields(reader, spec);
            for (const std::string& key : reader.asked()) {
                if (!is_shared_key(key)) asked.insert(key);
            }
        }
        EXPECT_EQ(asked, stated) << family.name();
    }
}

TEST(FamilyRegistry, EveryFamilyIsUnderContract) {
    std::set<std::string> under_test;
    for (const FamilyUnderTest& family : families_under_test()) {
        ASSERT_TRUE(family.family);
        EXPECT_FALSE(family.examples.empty()) << family.family->name();
        under_test.insert(family.family->name());
        for (const FamilyExample& example : family.examples)
            EXPECT_EQ(&families::family_of(example.spec), family.family) << example.name;
    }
    std::set<std::string> registered;
    for (const families::Family* family : families::all_families()) registered.insert(family->name());
    EXPECT_EQ(under_test, registered);
}

}  // namespace
}  // namespace trtpose::test
