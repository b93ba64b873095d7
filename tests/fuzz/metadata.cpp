// SPDX-License-Identifier: Apache-2.0
// What a file that carries no spec is taken for: names, shapes and metadata, as lines of text.
//
//   i NAME SIZE...      an input, -1 for a size that is open
//   o NAME SIZE...      an output
//   m KEY VALUE         metadata; the value goes on to the end of the line
//   a OPERATOR          one that takes the picture
//   p NUMBER...         the network can be asked: numbers that repeat in its outputs
#include <charconv>
#include <optional>
#include <vector>

#include "fuzz.hpp"

namespace trtpose::fuzz {
namespace {

std::string_view word_of(std::string_view& line) {
    const size_t end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return word;
}

template <typename T>
std::vector<T> numbers_of(std::string_view line) {
    std::vector<T> out;
    while (!line.empty()) {
        const std::string_view word = word_of(line);
        T value{};
        if (std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc()) out.push_back(value);
    }
    return out;
}

/// As ONNX files are read: no more sizes, and none that is larger or 0.
TensorInfo tensor_of(std::string_view line) {
    constexpr size_t kMostSizes = 16;
    TensorInfo out;
    out.name = word_of(line);
    for (const auto size : numbers_of<int32_t>(line)) {
        if (out.shape.size() < kMostSizes) out.shape.push_back(size > 0 ? size : -1);
    }
    return out;
}

class Probe final : public NetworkProbe {
public:
    Probe(const ModelFile& file, std::vector<float> numbers) : file_(file), numbers_(std::move(numbers)) {}

    std::vector<std::vector<int64_t>> shapes(Size size) override {
        std::vector<std::vector<int64_t>> out;
        for (const auto& output : file_.outputs) {
            out.push_back(output.shape);
            for (int64_t& side : out.back()) side = side > 0 ? side : size.height / 8 + 1;
        }
        return out;
    }
    std::vector<float> numbers(size_t index, Size) override {
        if (numbers_.empty()) throw Error(ErrorCode::model, "it cannot be run here");
        constexpr int64_t kMost = 4096;
        int64_t count = 1;
        for (const int64_t side : file_.outputs[index].shape)
            count = std::min(kMost, count * std::max<int64_t>(side, 1));
        std::vector<float> out;
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) out.push_back(numbers_[i % numbers_.size()]);
        return out;
    }

private:
    const ModelFile& file_;
    std::vector<float> numbers_;
};

}  // namespace
}  // namespace trtpose::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    ModelFile file;
    file.path = "model.onnx";
    file.kind = "onnx";
    std::optional<std::vector<float>> numbers;
    std::string_view rest = fuzz::view_of(data, size);
    while (!rest.empty()) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const std::string_view kind = fuzz::word_of(line);
        if (kind == "i") file.inputs.push_back(fuzz::tensor_of(line));
        if (kind == "o") file.outputs.push_back(fuzz::tensor_of(line));
        if (kind == "a") file.input_operators.emplace_back(line);
        if (kind == "p") numbers = fuzz::numbers_of<float>(line);
        if (kind != "m") continue;
        const std::string key(fuzz::word_of(line));
        file.metadata[key] = line;
    }
    fuzz::may_refuse([&] {
        if (numbers) {
            fuzz::Probe probe(file, *numbers);
            fuzz::use_spec(find_spec(file, {}, &probe).spec);
        } else {
            fuzz::use_model(file);
        }
    });
    return 0;
}
