// SPDX-License-Identifier: Apache-2.0
// Model files of the tests: small, in a folder of their own.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/files.hpp"
#include "support/onnx_writer.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::test {

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// What Ultralytics' exporters write.
inline Metadata ultralytics(const std::string& keypoints = "[17, 3]", const std::string& names = "{0: 'person'}") {
    return {{"task", "pose"}, {"stride", "32"}, {"kpt_shape", keypoints}, {"names", names}, {"imgsz", "[64, 64]"}};
}

class WithModelFiles : public testing::Test {
protected:
    ModelFile read(const std::string& text, const std::string& name = "net.onnx") {
        return read_model_file(folder_.write(name, text));
    }
    FoundSpec find(const OnnxModel& model, const std::string& given = {}) {
        return find_spec(read(model.text()), given);
    }

    TempFolder folder_;
};

/// Raw heads of two strides, with a spec and weights.
inline OnnxModel head_model() {
    OnnxModel model;
    model.outputs = {{"p3", {1, 3 * 57, 8, 8}}, {"p4", {1, 3 * 57, 4, 4}}};
    model.metadata = {{"trtpose",
                       R"({"trtpose": 1, "layout": "heads", "imgsz": [64, 64], "strides": [8, 16], "names": ["person"],
            "anchors": [[[4, 5], [6, 7], [8, 9]], [[1, 2], [3, 4], [5, 6]]], "kpt_shape": [17, 3],
            "outputs": ["p3", "p4"]})"}};
    model.weights = {onnx_tensor("w", {2, 3}, 1, std::string(24, '\0')), onnx_tensor("q", {5}, 3, "12345"),
                     onnx_tensor("shape", {4}, 7, std::string(32, '\1'))};
    model.nodes = {Proto()
                       .bytes(1, "images")
                       .bytes(2, "p3")
                       .bytes(4, "Conv")
                       .message(5, Proto().bytes(1, "value").message(5, onnx_tensor("c", {2}, 10, "abcd")))};
    return model;
}

}  // namespace trtpose::test
