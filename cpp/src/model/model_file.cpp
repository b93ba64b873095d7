// SPDX-License-Identifier: Apache-2.0
// Reads what an ONNX file says of itself, by walking its protobuf fields (onnx.proto3 gives the numbers), and checks on
// the way that every length stays inside the file and every weight has the bytes its shape calls for: a truncated or
// damaged file is told apart here, before a vendor library sees it.
#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

#include "core/check.hpp"
#include "model/engine_file.hpp"
#include "model/mapped_file.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {
namespace {

struct Damaged {
    std::string what;
};

/// The fields of one protobuf message.
class Message {
public:
    explicit Message(std::string_view content) : bytes_(content) {}

    /// Advance to the next field; false at the end.
    bool next() {
        if (at_ == bytes_.size()) return false;
        const uint64_t key = varint();
        field = static_cast<int>(key >> 3);
        wire = static_cast<int>(key & 7);
        if (field == 0) throw Damaged{"a field without a number"};
        switch (wire) {
            case 0: number = varint(); break;
            case 1: bytes = take(8); break;
            case 2: bytes = take(varint()); break;
            case 5: bytes = take(4); break;
            default: throw Damaged{"a field of unknown type"};
        }
        return true;
    }

    Message message() const {
        if (wire != 2) throw Damaged{"a number where a message belongs"};
        return Message(bytes);
    }
    std::string string() const {
        if (wire != 2) throw Damaged{"a number where a text belongs"};
        return std::string(bytes);
    }
    size_t size() const { return bytes_.size(); }
    int64_t integer() const {
        if (wire != 0) throw Damaged{"a text where a number belongs"};
        return static_cast<int64_t>(number);
    }
    /// Values of a repeated integer field, packed or one by one.
    template <typename F>
    void integers(F&& each) const {
        if (wire == 0) {
            each(static_cast<int64_t>(number));
            return;
        }
        Message packed = message();
        while (packed.at_ != packed.bytes_.size()) each(static_cast<int64_t>(packed.varint()));
    }

    int field = 0, wire = 0;
    uint64_t number = 0;
    std::string_view bytes;

private:
    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            if (at_ == bytes_.size()) throw Damaged{"the file ends in the middle of a number"};
            const auto byte = static_cast<unsigned char>(bytes_[at_++]);
            value |= static_cast<uint64_t>(byte & 0x7F) << shift;
            if (!(byte & 0x80)) return value;
        }
        throw Damaged{"a number longer than 64 bits"};
    }
    std::string_view take(uint64_t count) {
        if (count > bytes_.size() - at_) throw Damaged{"a part that is longer than the file"};
        const auto part = bytes_.substr(at_, count);
        at_ += count;
        return part;
    }

    std::string_view bytes_;
    size_t at_ = 0;
};

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
        case 2:
        case 3:
        case 9:
        case 17:
        case 18:
        case 19:
        case 20: return 8;  // uint8 int8 bool float8
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

class OnnxReader {
public:
    explicit OnnxReader(ModelFile& out) : out_(out) {}

    void model(Message m) {
        bool graph_seen = false, version_seen = false;
        while (m.next()) {
            switch (m.field) {
                case 1:
                    m.integer();
                    version_seen = true;
                    break;  // ir_version
                case 2: out_.producer = m.string(); break;
                case 7:
                    graph(m.message(), 0);
                    graph_seen = true;
                    break;
                case 8: opset(m.message()); break;
                case 14: metadata(m.message()); break;
                default: break;
            }
        }
        if (!graph_seen || !version_seen) throw Damaged{"no ONNX graph in it"};
        if (out_.inputs.empty() || out_.outputs.empty()) throw Damaged{"the graph has no inputs or no outputs"};
    }

private:
    struct Node {
        std::string kind;
        std::vector<std::string> inputs, outputs;
    };

    void opset(Message m) {
        std::string domain;
        int64_t version = 0;
        while (m.next()) {
            if (m.field == 1) domain = m.string();
            if (m.field == 2) version = m.integer();
        }
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

    void graph(Message m, int depth) {
        if (depth > 16) throw Damaged{"graphs nested too deeply"};
        std::vector<TensorInfo> inputs;
        while (m.next()) {
            switch (m.field) {
                case 1: node(m.message(), depth); break;
                case 5: tensor(m.message()); break;
                case 11: inputs.push_back(value_info(m.message())); break;
                case 12: {
                    TensorInfo output = value_info(m.message());
                    if (depth == 0) out_.outputs.push_back(std::move(output));
                    break;
                }
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
        while (m.next()) {
            if (m.field == 5) attribute(m.message(), depth);
            if (m.field < 1 || m.field > 4) continue;
            std::string text = m.string();
            if (m.field == 1) node.inputs.push_back(std::move(text));
            if (m.field == 2) node.outputs.push_back(std::move(text));
            if (m.field == 4) node.kind = std::move(text);
        }
        if (depth == 0) nodes_.push_back(std::move(node));
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

    void attribute(Message m, int depth) {
        while (m.next()) {
            if (m.field == 5 || m.field == 10) tensor(m.message());
            if (m.field == 6 || m.field == 11) graph(m.message(), depth + 1);
        }
    }

    void tensor(Message m) {
        uint64_t elements = 1;
        int64_t type = 0;
        bool external = false, raw = false;
        std::string name;
        size_t bytes = 0;
        while (m.next()) {
            switch (m.field) {
                case 1:
                    m.integers([&](int64_t d) {
                        if (d < 0 || (d > 0 && elements > kMaxElements / static_cast<uint64_t>(d)))
                            throw Damaged{"a weight of impossible shape"};
                        elements *= static_cast<uint64_t>(d);
                    });
                    break;
                case 2: type = m.integer(); break;
                case 8: name = m.string(); break;
                case 9:
                    raw = true;
                    bytes = m.message().size();
                    break;
                case 14: external = m.integer() == 1; break;
                default: break;
            }
        }
        const int bits = bits_of(type);
        if (type <= 0 || type > 32) throw Damaged{"weight '" + printable(name) + "' is of an unknown type"};
        if (raw && !external && bits && bytes != elements * static_cast<uint64_t>(bits) / 8)
            throw Damaged{text("weight '", printable(name), "' has ", bytes, " bytes where its shape calls for ",
                               elements * static_cast<uint64_t>(bits) / 8)};
        if (!raw && !external && bits && elements > out_bytes_limit_) throw Damaged{"a weight larger than the file"};
        weights_.insert(name);
        if (elements > 1 && type != kString && type != kInt64) {
            out_.parameters += static_cast<int64_t>(elements);
            if (out_.parameters > static_cast<int64_t>(kMaxElements)) throw Damaged{"weights of impossible size"};
            out_.weight_bytes += static_cast<int64_t>(elements * static_cast<uint64_t>(bits) / 8);
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

    static std::string printable(std::string_view name) {
        std::string out;
        for (const char c : name.substr(0, 80)) out += c >= 32 && c < 127 ? c : '?';
        return out;
    }

    static constexpr uint64_t kMaxElements = uint64_t{1} << 40;
    ModelFile& out_;
    std::set<std::string, std::less<>> weights_;
    std::vector<Node> nodes_;

public:
    uint64_t out_bytes_limit_ = 0;
};

}  // namespace

ModelFile read_model_file(const std::string& path) {
    const MappedFile file(path);
    const std::string_view bytes = file.bytes();
    ModelFile out;
    out.path = path;
    const auto starts = [&](const char* magic) {
        return bytes.substr(0, 4) == magic || bytes.substr(0, 8).find(magic) != bytes.npos;
    };
    // First, since the length at its front may look like anything.
    if (is_engine_file(bytes)) {
        read_engine_file(bytes, out);
        return out;
    }
    require(bytes.substr(0, 2) != "PK" && bytes.substr(0, 1) != "\x80", ErrorCode::model, path,
            ": this is a PyTorch checkpoint; turn it into ONNX first: trtpose export ", path);
    require(!starts("<?xml"), ErrorCode::model, path, ": this is an XML file; give an ONNX model or an engine file");
    out.kind = "onnx";
    try {
        OnnxReader reader(out);
        reader.out_bytes_limit_ = bytes.size();
        reader.model(Message(bytes));
    } catch (const Damaged& damage) {
        throw Error(ErrorCode::model, text(path, ": not a readable ONNX model (", damage.what,
                                           "); the file is damaged, incomplete or of another kind"));
    }
    return out;
}

}  // namespace trtpose
