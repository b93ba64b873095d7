// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are MoveNet's, by the names and shapes of their outputs.
#include <algorithm>
#include <filesystem>
#include <iterator>

#include "core/check.hpp"
#include "families/movenet/family.hpp"
#include "families/movenet/settings.hpp"
#include "model/literal.hpp"
#include "model/outputs_by_name.hpp"
#include "model/ultralytics.hpp"

namespace trtpose::movenet {
namespace {

using families::Recognition;

constexpr const char* kHeads[] = {"heatmap", "center", "regress", "offset", "box_scale", "box_offset"};
constexpr const char* kReproduction[] = {"output1", "output2", "output3", "output4"};  // as fire717 exports them
constexpr const char* kReproductionInput = "input1";
constexpr const char* kSayWhich =
    "give the model spec with --spec FILE.json (docs/conventions.md shows one), or where it is Google's write a copy "
    "with "
    "trtpose export FILE --arch movenet";
constexpr int kStride = 4, kMultiple = 32;
constexpr int kCocoKeypoints = 17;
constexpr int64_t kPeople[] = {6, 10, 20};  // that networks of several people are published with
constexpr int64_t kMostPeople = 20;

ModelSpec base_of(const ModelFile& file, Form form, int keypoints) {
    ModelSpec spec;
    const auto& input = file.inputs.front().shape;
    spec.family = "movenet";
    spec.name = std::filesystem::path(file.path).stem().string();
    spec.imgsz = {static_cast<int>(input[2]), static_cast<int>(input[3])};
    if (is_raw(form)) spec.strides = {kStride};
    if (spec.imgsz.height % kMultiple == 0 && spec.imgsz.width % kMultiple == 0) spec.strides.push_back(kMultiple);
    spec.names = {"person"};
    spec.keypoints = keypoints;
    for (float& deviation : spec.std) deviation = 1;
    spec.pad = 0;
    if (!is_single(form)) spec.letterbox.placement = math::Placement::top_left;
    spec.extra.emplace_back("form", quote_json(to_string(form)));
    return spec;
}

/// The shapes of raw heads in the order of `outputs`, as far as the file says them.
bool are_heads(const std::vector<const TensorInfo*>& outputs, Form form) {
    if (outputs.front()->shape.size() != 4) return false;
    const int64_t keypoints = outputs.front()->shape[1];
    if (keypoints < 1 || keypoints > (1 << 16)) return false;
    const auto expected = output_shapes(form, static_cast<int>(keypoints));
    for (size_t i = 0; i < expected.size(); ++i) {
        const auto& shape = outputs[i]->shape;
        if (shape.size() != 4 || shape[1] != expected[i][1]) return false;
        if (!std::equal(shape.begin() + 2, shape.end(), outputs.front()->shape.begin() + 2)) return false;
    }
    return true;
}

/// The outputs of these names, in their order; empty where the file has others or more.
template <size_t kCount>
std::vector<const TensorInfo*> named(const ModelFile& file, const char* const (&names)[kCount], size_t count) {
    std::vector<const TensorInfo*> out;
    const auto outputs = outputs_by_name(file);
    for (size_t i = 0; i < count && file.outputs.size() == count; ++i) {
        const auto found = outputs.find(names[i]);
        if (found == outputs.end()) return {};
        out.push_back(found->second);
    }
    return out;
}

Recognition reading_of(ModelSpec spec) {
    Recognition out;
    if (spec.imgsz.height <= 0 || spec.imgsz.width <= 0) {
        out.doubt = "it is MoveNet's, but its input size is open and nothing says what it was made for";
        out.remedy = "trtpose export writes a copy that says one";
        spec.imgsz = {};
    }
    out.knows_input = true;
    out.readings.push_back(std::move(spec));
    return out;
}

Recognition recognise_heads(const ModelFile& file) {
    const size_t count = file.outputs.size();
    const Form form = count == std::size(kHeads) ? Form::multi_heads : Form::single_heads;
    std::vector<const TensorInfo*> heads = named(file, kHeads, count);
    const bool reproduction = heads.empty() && file.inputs.front().name == kReproductionInput;
    if (reproduction) heads = named(file, kReproduction, count);
    const bool known = !heads.empty();
    if (!known) {
        for (const auto& output : file.outputs) heads.push_back(&output);
    }
    if (!are_heads(heads, form)) return {};
    ModelSpec spec = base_of(file, form, static_cast<int>(heads.front()->shape[1]));
    for (const TensorInfo* head : heads) spec.outputs.push_back(head->name);
    const auto& cells = heads.front()->shape;
    const Size grid{spec.imgsz.height / kStride, spec.imgsz.width / kStride};
    if (spec.imgsz.height > 0 && cells[2] > 0 && (cells[2] != grid.height || cells[3] != grid.width)) return {};
    if (reproduction) {
        for (const auto& [key, value] :
             {std::pair{"pairs", "\"xy\""}, {"activated", "true"}, {"rounded", "true"}, {"floor", "0.1"}})
            spec.extra.emplace_back(key, value);
    }
    if (known) return reading_of(std::move(spec));
    return {
        {spec},
        text("its ", count,
             " heads are as MoveNet's, but their names do not say whether they hold logits and pairs (y, "
             "x), as Google's do, or scores and pairs (x, y)"),
        "give the model spec with --spec FILE.json (docs/conventions.md shows one), or write a copy of one of Google's "
        "with trtpose export FILE --arch movenet"};
}

bool is_rows(const std::vector<int64_t>& shape) {
    return shape.size() == 3 && shape[1] > 1 && shape[1] <= kMostPeople && shape[2] > 5 && (shape[2] - 5) % 3 == 0;
}

/// Whether numbers are rows of people: places in parts of the input, probabilities, boxes whose sides are in order.
/// Lists of other networks that are as wide hold pixels, or zeros where noise shows them nobody.
bool are_people(const std::vector<float>& numbers, size_t keypoints) {
    constexpr float kFar = 2;  // keypoints may lie a little outside of the input
    const size_t width = 3 * keypoints + 5;
    const auto place = [](float v) { return v > -kFar && v < kFar; };
    const auto probability = [](float v) { return v >= 0 && v <= 1; };
    for (size_t row = 0; row + width <= numbers.size(); row += width) {
        const float* const person = numbers.data() + row;
        for (size_t k = 0; k < keypoints; ++k) {
            if (!place(person[3 * k]) || !place(person[3 * k + 1]) || !probability(person[3 * k + 2])) return false;
        }
        const float* const box = person + 3 * keypoints;
        if (!std::all_of(box, box + 4, place) || !(box[0] <= box[2] && box[1] <= box[3]) || !probability(box[4]))
            return false;
    }
    return std::any_of(numbers.begin(), numbers.end(), [](float v) { return v != 0; });
}

bool is_one_person(const std::vector<int64_t>& shape) {
    return shape.size() == 4 && shape[1] == 1 && shape[2] > 0 && shape[3] == 3;
}

/// Of rows of several people, which one run tells from other lists of people.
Recognition recognise_people(ModelSpec spec, const std::string& shown, NetworkProbe* probe) {
    if (spec.imgsz.height <= 0 || spec.imgsz.width <= 0) return reading_of(std::move(spec));
    std::vector<float> numbers;
    std::string problem = "nobody could run it";
    try {
        if (probe) numbers = probe->numbers(0, spec.imgsz);
    } catch (const Error& error) {
        problem = error.what();
    }
    if (numbers.empty())
        return {{std::move(spec)},
                text(shown, ", as MoveNet gives several people, and running it once, which tells, was not possible (",
                     problem, ")"),
                {}};
    if (!are_people(numbers, static_cast<size_t>(spec.keypoints)))
        return {{}, shown + ", as large as MoveNet's, but one run shows that it holds none of MoveNet's people", {}};
    return reading_of(std::move(spec));
}

}  // namespace

Recognition MoveNet::recognise(const ModelFile& file, const UltralyticsMetadata& metadata, NetworkProbe* probe) const {
    if (metadata.present) return {};
    if (file.outputs.size() == 4 || file.outputs.size() == 6) return recognise_heads(file);
    if (file.outputs.size() != 1) return {};
    const auto& output = file.outputs.front();
    const auto& shape = output.shape;
    const bool one = is_one_person(shape) && shape[2] == kCocoKeypoints;
    const bool several = is_rows(shape) && shape[2] == 3 * kCocoKeypoints + 5 &&
                         std::find(std::begin(kPeople), std::end(kPeople), shape[1]) != std::end(kPeople);
    if (!one && !several) return {};
    ModelSpec spec = base_of(file, one ? Form::single : Form::multi, kCocoKeypoints);
    spec.outputs = {output.name};
    const std::string shown = "its output '" + output.name + "' is " + shape_text(shape);
    if (several) return recognise_people(std::move(spec), shown, probe);
    return {{spec}, shown + ", as MoveNet gives one person, but with channels first nobody publishes it", kSayWhich};
}

bool MoveNet::adopts(const ModelFile& file) const {
    const auto& input = file.inputs.front();
    if (input.shape.size() != 4 || (input.shape[1] == 3) == (input.shape[3] == 3)) return false;
    if (input.shape[0] > 1) return false;  // export runs pictures one by one
    constexpr DType kAdopted[] = {DType::f32, DType::f16, DType::i32, DType::u8, DType::i64};
    if (std::find(std::begin(kAdopted), std::end(kAdopted), input.dtype) == std::end(kAdopted)) return false;
    const size_t count = file.outputs.size();
    if (count == 1) return is_one_person(file.outputs[0].shape) || is_rows(file.outputs[0].shape);
    if (count != 4 && count != 6) return false;
    const auto heads = named(file, kHeads, count);
    return !heads.empty() && are_heads(heads, count == 6 ? Form::multi_heads : Form::single_heads);
}

}  // namespace trtpose::movenet
