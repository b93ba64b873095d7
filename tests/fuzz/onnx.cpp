// SPDX-License-Identifier: Apache-2.0
// An ONNX file, from its protobuf to the spec that is found for it, and to what a library gets to see of it.
#include <algorithm>

#include "fuzz.hpp"
#include "model/onnx_content.hpp"

namespace trtpose::fuzz {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;  ///< of what a library would see; weights beside the file may make it long

std::string content_of(const std::string& path) {
    OnnxContent content(path);
    if (content.size() > kMostBytes) return {};
    std::string whole(content.size(), '\0'), parts = whole;
    content.read(0, whole.data(), whole.size());
    constexpr size_t kPart = 37;
    for (size_t at = 0; at < parts.size(); at += kPart)
        content.read(at, parts.data() + at, std::min(kPart, parts.size() - at));
    content.require_unchanged();
    expect(whole == parts, "read in parts it is the same");
    return whole;
}

bool same(const std::vector<TensorInfo>& a, const std::vector<TensorInfo>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const TensorInfo& one, const TensorInfo& other) {
        return one.name == other.name && one.dtype == other.dtype && one.shape == other.shape;
    });
}

/// What a library sees is a file that says the same of itself and needs none beside it.
void use_content(const ModelFile& file, const ScratchFile& alone) {
    const std::string content = content_of(file.path);
    if (content.empty()) return;
    const std::string& path = alone.write(reinterpret_cast<const uint8_t*>(content.data()), content.size());
    try {
        const ModelFile again = read_model_file(path);
        expect(same(again.inputs, file.inputs) && same(again.outputs, file.outputs), "its tensors are the same");
        expect(again.metadata == file.metadata && again.opset == file.opset, "its metadata are the same");
        expect(again.parameters == file.parameters, "its weights are as many");
    } catch (const Error& error) {
        expect(false, error.what());
    }
    expect(content_of(path) == content, "and there is nothing left to change in it");
}

}  // namespace
}  // namespace trtpose::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    static const fuzz::ScratchFile file("model.onnx"), alone("alone.onnx");
    static const fuzz::ScratchFile weights(file, "weights.bin");
    weights.write(reinterpret_cast<const uint8_t*>("0123456789abcdef0123456789abcdef"), 32);
    fuzz::may_refuse([&] {
        const ModelFile model = read_model_file(file.write(data, size));
        fuzz::use_content(model, alone);
        fuzz::use_model(model);
    });
    return 0;
}
