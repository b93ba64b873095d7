// SPDX-License-Identifier: Apache-2.0
// seeds FOLDER: what the targets begin with, a folder for each, written with what the tests write their files with.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "support/engine_writer.hpp"
#include "support/onnx_writer.hpp"

namespace trtpose::fuzz {
namespace {

using test::OnnxModel;
using test::Proto;

std::filesystem::path root;

void write(const std::string& target, const std::string& name, const std::string& content) {
    std::filesystem::create_directories(root / target);
    std::ofstream(root / target / name, std::ios::binary) << content;
}

const std::string kSpec = R"({"trtpose": 1, "layout": "heads", "imgsz": [64, 64], "strides": [8, 16],
 "names": ["person"], "anchors": [[[4, 5], [6, 7]], [[1.5, 2], [3, 4e1]]], "kpt_shape": [2, 3], "outputs": ["a", "b"],
 "sigmas": [0.05, 0.1], "color": "bgr", "mean": [0, 0, 0], "std": [255, 255, 255], "pad": 114, "name": "n",
 "kpt_names": ["x", "y"], "skeleton": [[0, 1]]})";
const std::string kList = R"({"layout": "channels_first", "imgsz": [64, 96], "strides": [8], "names": ["person"],
 "kpt_shape": [2, 3]})";

OnnxModel heads() {
    OnnxModel model;
    model.outputs = {{"a", {1, 2 * 12, 8, 8}}, {"b", {1, 2 * 12, 4, 4}}};
    model.metadata = {{"trtpose", kSpec}};
    model.weights = {test::onnx_tensor("w", {2, 3}, 1, std::string(24, '\0')), test::onnx_tensor("q", {5}, 3, "12345"),
                     test::onnx_tensor("shape", {4}, 7, std::string(32, '\1'))};
    model.nodes = {Proto().bytes(1, "images").bytes(2, "c").bytes(4, "Cast"),
                   Proto().bytes(1, "c").bytes(2, "a").bytes(4, "Conv").message(
                       5, Proto().bytes(1, "value").message(5, test::onnx_tensor("v", {2}, 10, "abcd")))};
    return model;
}

OnnxModel ultralytics() {
    OnnxModel model;
    model.inputs = {{"images", {-1, 3, 64, 64}}};
    model.outputs = {{"output0", {-1, 5 + 17 * 3, 84}}};
    model.metadata = {
        {"task", "pose"},           {"stride", "32"},     {"kpt_shape", "[17, 3]"},    {"imgsz", "[64, 64]"},
        {"names", "{0: 'person'}"}, {"end2end", "False"}, {"kpt_names", "{0: ['a']}"}, {"channels", "3"}};
    return model;
}

/// A graph in a graph, and a weight kept in another file.
OnnxModel nested() {
    OnnxModel model = heads();
    const Proto weight = test::onnx_tensor("inner", {1}, 6, "1234");
    const Proto inner = Proto().bytes(2, "inner").message(5, weight).message(12, test::onnx_value("y", {1}));
    model.nodes.push_back(Proto().bytes(1, "c").bytes(4, "If").message(5, Proto().bytes(1, "then").message(6, inner)));
    const auto entry = [](const char* key, const char* value) { return Proto().bytes(1, key).bytes(2, value); };
    model.weights.push_back(Proto()
                                .number(1, 4)
                                .number(2, 1)
                                .bytes(8, "far")
                                .message(13, entry("location", "weights.bin"))
                                .message(13, entry("offset", "0"))
                                .message(13, entry("length", "16"))
                                .number(14, 1));
    return model;
}

void write_models() {
    write("onnx", "heads", heads().text());
    write("onnx", "ultralytics", ultralytics().text());
    write("onnx", "nested", nested().text());
    const std::string plan = test::plan_bytes("ftrt", {10, 13, 0, 35}, "rest"),
                      rtx = test::plan_bytes("vtrt", {1, 4, 0, 76}, "");
    test::EngineHeader header;
    write("engine", "ours", header.file(plan));
    header.spec = kList;
    header.more = R"(, "layers": {"fp16": 3}, "device": {"name": "a GPU", "compute_capability": "8.6"},
 "onnx": {"name": "n.onnx", "sha256": "00"}, "memory": {"weights": 4, "activations": 5}, "plugins": ["p/1"],
 "weight_streaming": true, "compute_capabilities": ["8.0"], "created": "today")";
    write("engine", "spec", header.file(plan));
    write("engine", "bare", plan);
    write("engine", "rtx", rtx);
    write("engine", "others",
          test::with_length(R"({"task": "pose", "stride": 32, "imgsz": [64, 64], "names":
 {"0": "person"}, "kpt_shape": [17, 3], "batch": 1})",
                            plan));
    // Without a sum, so that what is changed behind the header is read on.
    std::string text = header.text(plan);
    text.replace(text.rfind(", \"plan\""), std::string::npos, "}}");
    write("engine", "unsummed", test::with_length(text, plan));
}

void write_texts() {
    write("spec", "heads", kSpec);
    write("spec", "list", kList);
    write("literal", "spec", kSpec);
    write("literal", "python", R"({0: 'person', -1: "it's", 2.5e-3: None, 'a': (True, False, (), [], {}),
 'u': '\u00e9\x41\ud83d\ude00\n\\', })");
    write("literal", "json", R"([1, -0.5, 1e300, true, false, null, "\"\/\b\f\n\r\t", {"a": {"b": [[]]}}])");
    write("metadata", "ultralytics",
          "i images -1 3 64 64\no output0 -1 56 84\nm task pose\nm stride 32\nm kpt_shape [17, 3]\nm imgsz [64, 64]\n"
          "m names {0: 'person'}\nm channels 3\nm end2end False\nm kpt_names {0: ['a', 'b']}\n");
    write("metadata", "end2end", "i x 1 3 64 64\no y 1 300 57\nm task pose\nm kpt_shape [17, 3]\nm end2end True\n");
    write("metadata", "decoded", "i images 1 3 64 64\no output 1 255 57\na Conv\np 1.5 0.25 3 100\n");
    write("metadata", "open", "i images -1 3 -1 -1\no output -1 -1 57\na Mul\np 0.5\n");
    write("metadata", "heads", "i x 1 3 64 64\no a 1 171 8 8\no b 1 171 4 4\no c 1 171 2 2\no d 1 171 1 1\n");
    write(
        "metadata", "spec", "i x 1 3 64 64\no a 1 24 8 8\no b 1 24 4 4\nm trtpose " + [] {
            std::string line = kSpec;
            for (char& c : line) c = c == '\n' ? ' ' : c;
            return line;
        }() + "\n");
}

/// Bytes that the targets of the operations draw their numbers from.
void write_numbers() {
    std::mt19937 random(1);
    for (const char* target : {"letterbox", "nms", "reader"}) {
        for (const size_t length : {64, 300, 1000, 3000}) {
            std::string bytes;
            for (size_t i = 0; i < length; ++i) bytes += static_cast<char>(random() & 255);
            write(target, std::to_string(length), bytes);
        }
    }
}

}  // namespace
}  // namespace trtpose::fuzz

int main(int count, char** arguments) {
    if (count != 2) {
        std::fputs("usage: trtpose_fuzz_seeds FOLDER\n", stderr);
        return 2;
    }
    trtpose::fuzz::root = arguments[1];
    trtpose::fuzz::write_models();
    trtpose::fuzz::write_texts();
    trtpose::fuzz::write_numbers();
    return 0;
}
