// SPDX-License-Identifier: Apache-2.0
// Writes small ONNX files, whole ones and wrong ones, field by field (onnx.proto3 gives the numbers).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trtpose::test {

/// One protobuf message under construction.
class Proto {
public:
    Proto& number(int field, uint64_t value) {
        varint(static_cast<uint64_t>(field) << 3);
        varint(value);
        return *this;
    }
    Proto& bytes(int field, std::string_view content) {
        varint(static_cast<uint64_t>(field) << 3 | 2);
        varint(content.size());
        text_.append(content);
        return *this;
    }
    Proto& message(int field, const Proto& content) { return bytes(field, content.text_); }
    /// Bytes as they are, for what no writer would write.
    Proto& raw(std::string_view content) {
        text_.append(content);
        return *this;
    }
    const std::string& text() const { return text_; }

private:
    void varint(uint64_t value) {
        for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
        text_ += static_cast<char>(value);
    }
    std::string text_;
};

using Dims = std::vector<int64_t>;  ///< -1: named, open

inline Proto onnx_value(const std::string& name, const Dims& dims, int64_t type = 1) {
    Proto shape;
    for (const int64_t d : dims) {
        Proto dimension;
        if (d < 0) {
            dimension.bytes(2, "open");
        } else {
            dimension.number(1, static_cast<uint64_t>(d));
        }
        shape.message(1, dimension);
    }
    Proto tensor;
    tensor.number(1, static_cast<uint64_t>(type)).message(2, shape);
    return Proto().bytes(1, name).message(2, Proto().message(1, tensor));
}

/// A weight with `bytes` as its raw data.
inline Proto onnx_tensor(const std::string& name, const Dims& dims, int64_t type, std::string_view bytes) {
    Proto tensor;
    for (const int64_t d : dims) tensor.number(1, static_cast<uint64_t>(d));
    return tensor.number(2, static_cast<uint64_t>(type)).bytes(8, name).bytes(9, bytes);
}

/// A model of one graph.
struct OnnxModel {
    std::vector<std::pair<std::string, Dims>> inputs = {{"images", {1, 3, 64, 64}}};
    int64_t input_type = 1;  ///< of TensorProto
    std::vector<std::pair<std::string, Dims>> outputs;
    std::vector<std::pair<std::string, std::string>> metadata;
    std::vector<Proto> weights;
    std::vector<Proto> nodes;
    Proto graph_rest, rest;  ///< further fields of the graph and of the model
    uint64_t ir_version = 8;
    std::vector<std::pair<std::string, uint64_t>> opsets = {{"", 17}};

    std::string text() const {
        Proto graph;
        graph.bytes(2, "graph");
        for (const auto& node : nodes) graph.message(1, node);
        for (const auto& weight : weights) graph.message(5, weight);
        for (const auto& [name, dims] : inputs) graph.message(11, onnx_value(name, dims, input_type));
        for (const auto& [name, dims] : outputs) graph.message(12, onnx_value(name, dims));
        graph.raw(graph_rest.text());
        Proto model;
        model.number(1, ir_version).bytes(2, "trtpose tests").message(7, graph).raw(rest.text());
        for (const auto& [domain, version] : opsets) model.message(8, Proto().bytes(1, domain).number(2, version));
        for (const auto& [key, value] : metadata) model.message(14, Proto().bytes(1, key).bytes(2, value));
        return model.text();
    }
};

}  // namespace trtpose::test
