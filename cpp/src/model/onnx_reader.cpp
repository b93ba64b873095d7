// SPDX-License-Identifier: Apache-2.0
// Walks the protobuf fields of an ONNX file (onnx.proto3 gives the numbers).
#include "model/onnx_reader.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "core/check.hpp"
#include "model/onnx_limits.hpp"
#include "model/protobuf.hpp"

namespace trtpose {
namespace {

// TensorProto.DataType
enum OnnxType { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kString = 8, kFloat16 = 10 };

DType dtype_of(int64_t type) {
    switch (type) {
        case kFloat: return DType::f32;
        case kUint8: return DType::u8;
        case kInt32: return DType::i32;
        case kInt64: return DType::i64;
        case kFloat16: return DType::f16;
        default: return DType::other;
    }
}

/// Bits of one element of a TensorProto; 0 where the size is not fixed or unknown.
int bits_of(int64_t type) {
    switch (type) {
        case 25:
        case 26: return 2;  // uint2 int2
        case 21:
        case 22:
        case 23: return 4;  // uint4 int4 float4
        case 2:
        case 3:
        case 9:
        case 17:
        case 18:
        case 19:
        case 20:
        case 24: return 8;  // uint8 int8 bool float8
        case 4:
        case 5:
        case 10:
        case 16: return 16;  // uint16 int16 float16 bfloat16
        case 1:
        case 6:
        case 12: return 32;  // float int32 uint32
        case 7:
        case 11:
        case 13:
        case 14: return 64;  // int64 double uint64 complex64
        case 15: return 128;
        default: return 0;
    }
}

std::string printable(std::string_view name) {
    std::string out;
    for (const char c : name.substr(0, 80)) out += c >= 32 && c < 127 ? c : '?';
    return out;
}

std::string varint(uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    return out += static_cast<char>(value);
}

constexpr uint64_t kMaxElements = uint64_t{1} << 40;

class OnnxReader {
public:
    OnnxReader(ByteSource& source, ExternalFiles& files, ModelFile& out) : source_(source), files_(files), out_(out) {}

    void model() {
        bool graph_seen = false, version_seen = false;
        for (Message m(source_); m.next();) {
            switch (m.field) {
                case 1:
                    ir_version(m.integer());
                    version_seen = true;
                    break;
                case 2: out_.producer = m.string(); break;
                case 7:
                    inside(m, [&](Message g) { graph(g, 0); });
                    graph_seen = true;
                    break;
                case 8: opset(m.message()); break;
                case 14: metadata(m.message()); break;
                case 20: inside(m, [&](Message t) { training(t); }); break;
                case 25: inside(m, [&](Message f) { function(f); }); break;
                default: break;
            }
        }
        if (!graph_seen || !version_seen) throw Damaged{"no ONNX graph in it"};
        if (out_.inputs.empty() || out_.outputs.empty()) throw Damaged{"the graph has no inputs or no outputs"};
        if (out_.opset == 0) refuse("states no opset; export the model again");
        if (source_.size() + external_ > kMaxOnnxBytes)
            refuse("has ", source_.size() + external_, " bytes with its weights, trtpose reads models of up to ",
                   kMaxOnnxBytes);
        for (const auto* tensors : {&out_.inputs, &out_.outputs}) {
            for (const TensorInfo& tensor : *tensors) check_size(tensor);
        }
    }

    std::vector<OnnxEdit> edits;

private:
    struct Node {
        std::string kind;
        std::vector<std::string> inputs, outputs;
    };

    template <typename... Args>
    [[noreturn]] void refuse(const Args&... why) const {
        throw Error(ErrorCode::model, text(out_.path, ": ", why...));
    }

    /// Walk a message in the field at hand and, where edits make it longer or shorter, edit its length too.
    template <typename F>
    void inside(const Message& field, F&& walk) {
        const size_t place = edits.size();
        const int64_t before = growth_;
        const uint64_t old = field.field_end() - field.begin;
        walk(field.message());
        if (edits.size() == place) return;
        OnnxEdit length{field.length_at, field.begin, varint(old + static_cast<uint64_t>(growth_ - before)), {}};
        growth_ += static_cast<int64_t>(length.bytes.size()) - static_cast<int64_t>(length.end - length.begin);
        edits.insert(edits.begin() + static_cast<std::ptrdiff_t>(place), std::move(length));
    }

    void ir_version(int64_t version) const {
        if (version < kMinIrVersion || version > kMaxIrVersion)
            refuse("is of ONNX IR version ", version, "; the libraries behind trtpose were made for ", kMinIrVersion,
                   " to ", kMaxIrVersion, ", export the model again with another version of its exporter");
    }

    void opset(Message m) {
        std::string domain;
        int64_t version = 0;
        while (m.next()) {
            if (m.field == 1) domain = m.string();
            if (m.field == 2) version = m.integer();
        }
        const int64_t highest = highest_opset(domain);
        if (version < 1 || version > highest)
            refuse("uses opset ", version, " of ", domain.empty() ? "ai.onnx" : printable(domain),
                   "; the libraries behind trtpose were made for 1 to ", highest,
                   ", export the model with one of these");
        if (++opsets_ > kMaxOpsets) refuse("imports more than ", kMaxOpsets, " opsets; export the model again");
        if (domain.empty() || domain == "ai.onnx") out_.opset = static_cast<int>(version);
    }

    void metadata(Message m) {
        std::string key, value;
        while (m.next()) {
            if (m.field == 1) key = m.string();
            if (m.field == 2) value = m.string();
        }
        out_.metadata[key] = value;
    }

    void training(Message m) {
        while (m.next()) {
            if (m.field == 1 || m.field == 2) inside(m, [&](Message g) { graph(g, 1); });
        }
    }

    void function(Message m) {
        while (m.next()) {
            if (m.field == 7) inside(m, [&](Message n) { node(n, 1); });
            if (m.field == 9) opset(m.message());
            if (m.field == 11) inside(m, [&](Message a) { attribute(a, 1); });
        }
    }

    void graph(Message m, int depth) {
        if (depth > 16) throw Damaged{"graphs nested too deeply"};
        std::vector<TensorInfo> inputs;
        while (m.next()) {
            switch (m.field) {
                case 1: inside(m, [&](Message n) { node(n, depth); }); break;
                case 5: inside(m, [&](Message t) { tensor(t); }); break;
                case 11: inputs.push_back(value_info(m.message())); break;
                case 12: {
                    TensorInfo output = value_info(m.message());
                    if (depth == 0) out_.outputs.push_back(std::move(output));
                    break;
                }
                case 15: inside(m, [&](Message t) { sparse_tensor(t); }); break;
                default: break;
            }
        }
        if (depth > 0) return;
        for (auto& input : inputs) {
            // Files of IR version 3 list their weights among the inputs.
            if (!weights_.count(input.name)) out_.inputs.push_back(std::move(input));
        }
        out_.input_operators = input_operators();
    }

    void node(Message m, int depth) {
        Node node;
        std::map<std::string, Attribute> attributes;
        while (m.next()) {
            if (m.field == 5) inside(m, [&](Message a) { attribute(a, depth, &attributes); });
            if (m.field < 1 || m.field > 4) continue;
            std::string text = m.string();
            if (m.field == 1) node.inputs.push_back(std::move(text));
            if (m.field == 2) node.outputs.push_back(std::move(text));
            if (m.field == 4) node.kind = std::move(text);
        }
        note_rare(node.kind, attributes);
        if (depth == 0) nodes_.push_back(std::move(node));
    }

    /// A value that a node has of its own; of longer texts none is looked at, and some are binary.
    static constexpr uint64_t kWord = 64;
    struct Attribute {
        int64_t number = 0;
        std::string text;
        std::vector<int64_t> numbers;
    };

    /// Whether a library that takes an odd number at the wrong end, or in groups all at the end, pads otherwise. Where
    /// the sizes do not say how much is padded: maybe.
    static bool is_padded_rarely(const std::vector<int64_t>& shape, const std::vector<int64_t>& kernel,
                                 const std::vector<int64_t>& strides, bool groups, bool upper) {
        if (!groups && !upper) return false;
        for (size_t i = 0; i < shape.size(); ++i) {
            const int64_t stride = i < strides.size() ? strides[i] : 1;
            if (i >= kernel.size() || stride < 1 || shape[i] % stride != 0) return true;
            const int64_t padding = kernel[i] - stride;
            if (groups ? padding > (upper ? 1 : 0) : padding % 2 != 0) return true;
        }
        return shape.empty();
    }

    /// What a library may overlook, whose answers are then others.
    void note_rare(const std::string& kind, const std::map<std::string, Attribute>& attributes) {
        const auto of = [&](const char* name) {
            const auto found = attributes.find(name);
            return found == attributes.end() ? Attribute() : found->second;
        };
        const auto note = [&](const char* name, bool rare) {
            if (attributes.count(name) && rare) out_.rare_attributes.insert(kind + "." + name);
        };
        if (kind.rfind("Reduce", 0) == 0) note("axes", true);
        if (kind == "ConvTranspose")
            note("output_shape",
                 is_padded_rarely(of("output_shape").numbers, of("kernel_shape").numbers, of("strides").numbers,
                                  of("group").number > 1, of("auto_pad").text == "SAME_UPPER"));
        if (kind == "Resize") {
            note("antialias", of("antialias").number != 0);
            note("exclude_outside", of("exclude_outside").number != 0);
            note("keep_aspect_ratio_policy", of("keep_aspect_ratio_policy").text != "stretch");
        }
    }

    /// The operators that take the picture, behind those that leave its values as they are.
    std::vector<std::string> input_operators() const {
        static const std::set<std::string> passing = {"Cast",           "Identity",         "Transpose",
                                                      "QuantizeLinear", "DequantizeLinear", "Reshape"};
        std::set<std::string> pictures;
        for (const auto& input : out_.inputs) pictures.insert(input.name);
        std::vector<std::string> out;
        for (const Node& node : nodes_) {
            if (std::none_of(node.inputs.begin(), node.inputs.end(),
                             [&](const std::string& name) { return pictures.count(name) > 0; }))
                continue;
            if (passing.count(node.kind)) {
                pictures.insert(node.outputs.begin(), node.outputs.end());
            } else {
                out.push_back(node.kind);
            }
        }
        return out;
    }

    /// Walk an attribute; its number or text is added.
    void attribute(Message m, int depth, std::map<std::string, Attribute>* all = nullptr) {
        std::string name;
        Attribute value;
        while (m.next()) {
            if (m.field == 1) name = m.string();
            if (m.field == 3) value.number = m.integer();
            if (m.field == 4 && m.message().size() <= kWord) value.text = m.string();
            if (m.field == 8 && value.numbers.size() < kWord)
                m.integers([&](int64_t n) { value.numbers.push_back(n); });
            if (m.field == 5 || m.field == 10) inside(m, [&](Message t) { tensor(t); });
            if (m.field == 6 || m.field == 11) inside(m, [&](Message g) { graph(g, depth + 1); });
            if (m.field == 22 || m.field == 23) inside(m, [&](Message t) { sparse_tensor(t); });
        }
        if (all) (*all)[name] = std::move(value);
    }

    /// Dimensions of a tensor; multiplied into `elements`.
    static void dimensions(const Message& m, uint64_t& elements) {
        m.integers([&](int64_t d) {
            if (d < 0 || (d > 0 && elements > kMaxElements / static_cast<uint64_t>(d)))
                throw Damaged{"a weight of impossible shape"};
            elements *= static_cast<uint64_t>(d);
        });
    }

    void sparse_tensor(Message m) {
        uint64_t elements = 1;
        while (m.next()) {
            if (m.field == 1 || m.field == 2) inside(m, [&](Message t) { tensor(t); });
            if (m.field == 3) dimensions(m, elements);
        }
        // Libraries fill it up with zeros.
        if (elements > static_cast<uint64_t>(kMaxTensorNumbers)) throw Damaged{"a sparse weight of impossible size"};
    }

    struct Tensor {
        std::string name;
        uint64_t elements = 1, bytes = 0;
        int64_t type = 0;
        bool external = false, raw = false;
        ExternalEntries entries;
    };

    void tensor(Message m) {
        Tensor t;
        std::vector<OnnxEdit> outside;  // the fields that say where its numbers are
        const uint64_t end = m.end();
        while (m.next()) {
            switch (m.field) {
                case 1: dimensions(m, t.elements); break;
                case 2: t.type = m.integer(); break;
                case 8: t.name = m.string(); break;
                case 9:
                    t.raw = true;
                    t.bytes = m.message().size();
                    break;
                case 13:
                    external_entry(m.message(), t.entries);
                    outside.push_back({m.key_at, m.field_end(), {}, {}});
                    break;
                case 14:
                    t.external = m.integer() != 0;
                    outside.push_back({m.key_at, m.field_end(), {}, {}});
                    break;
                default: break;
            }
        }
        check_tensor(t);
        if (t.external) take_in(t, std::move(outside), end);
        weights_.insert(t.name);
        if (t.elements > 1 && t.type != kString && t.type != kInt64) {
            out_.parameters += static_cast<int64_t>(t.elements);
            if (out_.parameters > static_cast<int64_t>(kMaxElements)) throw Damaged{"weights of impossible size"};
            out_.weight_bytes += static_cast<int64_t>(bytes_of(t));
        }
    }

    static void external_entry(Message m, ExternalEntries& entries) {
        std::string key, value;
        while (m.next()) {
            if (m.field == 1) key = m.string();
            if (m.field == 2) value = m.string();
        }
        entries.add(key, std::move(value));
    }

    static uint64_t bytes_of(const Tensor& t) {
        const auto bits = static_cast<uint64_t>(bits_of(t.type));
        return bits < 8 ? (t.elements * bits + 7) / 8 : t.elements * (bits / 8);
    }

    void check_tensor(const Tensor& t) const {
        const std::string name = "weight '" + printable(t.name) + "'";
        if (t.type <= 0 || t.type > 32) throw Damaged{name + " is of an unknown type"};
        if (!t.external && t.entries.any())
            throw Damaged{name + " says where its numbers are, and not that they are there"};
        if (t.external && t.raw) throw Damaged{name + " has its numbers in the file and outside"};
        const bool sized = bits_of(t.type) != 0;
        if (t.external && !sized) throw Damaged{name + " is kept in another file, and its type has no size"};
        if (t.raw && sized && t.bytes != bytes_of(t))
            throw Damaged{text(name, " has ", t.bytes, " bytes where its shape calls for ", bytes_of(t))};
        if (!t.raw && !t.external && sized && t.elements > source_.size())
            throw Damaged{"a weight larger than the file"};
    }

    /// Edit a tensor so that its numbers stand in it.
    void take_in(const Tensor& t, std::vector<OnnxEdit> outside, uint64_t end) {
        const uint64_t bytes = bytes_of(t);
        ExternalRange range = files_.find(t.entries, bytes, printable(t.name));
        external_ += bytes;
        if (external_ > kMaxOnnxBytes)
            refuse("its weights in other files have more than ", kMaxOnnxBytes,
                   " bytes; trtpose reads models up to there");
        static constexpr char kRawData = 9 << 3 | 2;
        outside.push_back({end, end, kRawData + varint(bytes), std::move(range)});
        for (OnnxEdit& edit : outside) {
            growth_ += static_cast<int64_t>(edit.bytes.size() + edit.external.bytes) -
                       static_cast<int64_t>(edit.end - edit.begin);
            edits.push_back(std::move(edit));
        }
    }

    TensorInfo value_info(Message m) {
        TensorInfo info;
        while (m.next()) {
            if (m.field == 1) info.name = m.string();
            if (m.field != 2) continue;
            Message type = m.message();
            while (type.next()) {
                if (type.field != 1) continue;  // tensor_type; sequences and maps stay without a shape
                Message tensor_type = type.message();
                while (tensor_type.next()) {
                    if (tensor_type.field == 1) info.dtype = dtype_of(tensor_type.integer());
                    if (tensor_type.field == 2) info.shape = shape(tensor_type.message());
                }
            }
        }
        return info;
    }

    static std::vector<int64_t> shape(Message m) {
        std::vector<int64_t> dims;
        while (m.next()) {
            if (m.field != 1) continue;
            int64_t d = -1;
            Message dimension = m.message();
            while (dimension.next()) {
                if (dimension.field == 1) d = dimension.integer();
            }
            if (d < -1 || d > std::numeric_limits<int32_t>::max()) throw Damaged{"a tensor of impossible shape"};
            dims.push_back(d == 0 ? -1 : d);  // exporters write 0 for a size they leave open
            if (dims.size() > 16) throw Damaged{"a tensor of impossible shape"};
        }
        return dims;
    }

    void check_size(const TensorInfo& tensor) const {
        int64_t numbers = 1;
        for (const int64_t d : tensor.shape) {
            if (d > 0 && numbers > kMaxTensorNumbers / d)
                refuse("its tensor '", printable(tensor.name), "' is ", shape_text(tensor.shape), ", more than ",
                       kMaxTensorNumbers, " numbers; export the model for smaller pictures or fewer at a time");
            numbers *= d > 0 ? d : 1;
        }
    }

    ByteSource& source_;
    ExternalFiles& files_;
    ModelFile& out_;
    std::set<std::string, std::less<>> weights_;
    std::vector<Node> nodes_;
    uint64_t external_ = 0;  ///< bytes of weights in other files
    int64_t growth_ = 0;     ///< bytes that the edits so far add
    int opsets_ = 0;
};

}  // namespace

std::vector<OnnxEdit> read_onnx_file(ByteSource& source, ExternalFiles& files, ModelFile& out) {
    try {
        OnnxReader reader(source, files, out);
        reader.model();
        return std::move(reader.edits);
    } catch (const Damaged& damage) {
        throw Error(ErrorCode::model, text(out.path, ": not a readable ONNX model (", damage.what,
                                           "); the file is damaged, incomplete or of another kind"));
    }
}

}  // namespace trtpose
