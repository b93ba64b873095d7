// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trtpose/math/letterbox.hpp"
#include "trtpose/types.hpp"

namespace trtpose {

/// How a network lays out what it found; see docs/conventions.md.
enum class Layout : uint8_t {
    heads,           ///< per stride N × (A·F) × h × w, raw
    heads5d,         ///< per stride N × A × h × w × F, raw
    decoded,         ///< N × M × F: cx, cy, w, h, objectness, classes, keypoints in input pixels
    channels_first,  ///< N × (4 + classes + keypoints) × M: cx, cy, w, h, class scores, keypoints
    final,           ///< N × M × (6 + keypoints): x1, y1, x2, y2, score, class, keypoints; no NMS needed
};

TRTPOSE_API const char* to_string(Layout layout);

/// What must be known of a network to feed it and to read its outputs. The JSON form is the one of the Python class
/// trtpose.ModelSpec and of the ONNX metadata key "trtpose".
struct TRTPOSE_API ModelSpec {
    Layout layout = Layout::heads;  ///< of the family anchor_grid
    std::string name;
    Size imgsz;                ///< pixels the network was made for; default size of a dynamic one
    std::vector<int> strides;  ///< input pixels per cell, one per output for heads and heads5d
    std::vector<std::vector<std::pair<float, float>>> anchors;  ///< per stride (width, height) in input pixels
    std::vector<std::string> outputs;  ///< output tensors in stride order; empty: order of the file
    std::vector<std::string> names;    ///< class names
    int keypoints = 0;                 ///< K
    int keypoint_dims = 3;             ///< 3: x, y, confidence; 2: x, y
    std::vector<float> sigmas;         ///< OKS sigma per keypoint, or empty
    PixelFormat color = PixelFormat::rgb;
    float mean[3] = {0, 0, 0};
    float std[3] = {255, 255, 255};
    int pad = 114;  ///< grey value of the letterbox border

    int classes() const { return static_cast<int>(names.size()); }
    int anchors_per_cell() const { return anchors.empty() ? 0 : static_cast<int>(anchors.front().size()); }
    /// Input height and width are multiples of it; 1 without strides.
    int max_stride() const;
    /// Numbers per anchor in heads, heads5d and decoded.
    int fields() const { return 5 + classes() + keypoints * keypoint_dims; }

    /// Text of the whole spec as one JSON object. Keys this version does not use (names of keypoints, skeleton) are
    /// kept.
    std::string to_json() const;
    /// Parse a spec; `source` is what an error calls the item. Throws Error(model).
    static ModelSpec from_json(const std::string& text, const std::string& source);

    /// The remaining keys as JSON texts, kept so that to_json loses nothing.
    std::vector<std::pair<std::string, std::string>> extra;

    std::string family = "anchor_grid";  ///< whose networks it is about; another one's own fields stand in `extra`

    math::LetterboxForm letterbox;  ///< how frames are scaled and placed
};

struct TensorInfo {
    std::string name;
    DType dtype = DType::f32;
    std::vector<int64_t> shape;  ///< -1 where it is free
};

/// Shapes of the input a network was built for, both ends included, and the one it is fastest at.
struct ShapeRange {
    std::vector<int64_t> min, opt, max;
};

/// What an engine file says of the plan in it.
struct EngineDescription {
    std::string runtime;                            ///< "tensorrt" or "rtx": which library runs it
    std::string version;                            ///< of the library that built it, as 10.13.0.35; empty: not known
    std::string precision;                          ///< fp32, fp16 or int8; empty: not known
    std::map<std::string, int64_t> layers;          ///< how many of each precision
    std::string device;                             ///< GPU it was built on; empty: not known or of no matter
    std::string compute_capability;                 ///< of that GPU, as 8.6
    std::vector<std::string> compute_capabilities;  ///< rtx: what it runs on
    std::string hardware_compatibility = "none";    ///< none, ampere_plus or same_compute_capability
    bool version_compatible = false;
    bool weight_streaming = false;
    std::vector<std::map<std::string, ShapeRange>> profiles;  ///< per profile, by input
    std::string onnx, onnx_sha256;                            ///< name and hash of the model it was built from
    uint64_t plan_offset = 0, plan_bytes = 0;                 ///< where the plan lies in the file
    int64_t weight_bytes = -1, activation_bytes = -1;         ///< on the GPU; -1: not known
    std::vector<std::string> plugins;                         ///< "name/version" of what must be known to open it
    std::string created, trtpose;                             ///< when, by which version; empty: not by trtpose
};

/// What a model file says of itself, read without any vendor library.
struct ModelFile {
    std::string path;
    std::string kind;  ///< "onnx" or "engine"
    std::vector<TensorInfo> inputs;
    std::vector<TensorInfo> outputs;
    std::map<std::string, std::string> metadata;
    int64_t parameters = 0;    ///< numbers in the weights
    int64_t weight_bytes = 0;  ///< bytes of the weights in the file
    int opset = 0;
    std::string producer;
    std::vector<std::string> input_operators;  ///< of an ONNX graph, those that take the picture
    std::set<std::string> rare_attributes;     ///< in an ONNX graph that libraries overlook, such as Resize.antialias
    std::optional<EngineDescription> engine;   ///< of an engine file; its inputs and outputs may be missing
    std::string stamp;  ///< tells the file, as it was when it was read, from what may stand there later
};

/// Read a model file's inputs, outputs, metadata and weight sizes, checking that its parts fit together.
/// Throws Error(model) when the file is missing, truncated, damaged or of a kind trtpose does not know.
TRTPOSE_API ModelFile read_model_file(const std::string& path);

/// Gives room for so many bytes.
using OnnxMemory = std::function<char*(size_t)>;

/// Read an ONNX file as a library may see it: checked as by read_model_file, and with the weights that lie in files
/// beside it taken in, so that nobody opens a path that stands in it. Asks for the room once. Throws Error(model).
TRTPOSE_API void read_onnx(const std::string& path, const OnnxMemory& memory);

/// The same checks on an ONNX model in memory, which has no weights anywhere else. `name` is what errors call it.
/// Throws Error(model).
TRTPOSE_API void check_onnx(const void* data, size_t size, const std::string& name);

/// A spec and where it came from: "file X.json", "metadata of trtpose", "metadata of Ultralytics", "names and shapes".
struct FoundSpec {
    ModelSpec spec;
    std::string origin;
};

/// Rows of an output that are looked at only where one of their scores is above a bound. Each row is of a cell of a
/// map, for which the network has a number of each class, whose logistic function is the score.
struct ScoredRows {
    size_t output = 0;         ///< its place in SessionInfo::outputs
    bool fields_first = true;  ///< N × fields × rows; else N × rows × fields
    size_t first_score = 0;    ///< field of the first score
    size_t scores = 0;         ///< how many there are, one behind the other; 0: nothing is known
    size_t classes = 0;        ///< numbers of a cell

    bool operator==(const ScoredRows& other) const {
        return output == other.output && fields_first == other.fields_first && first_score == other.first_score &&
               scores == other.scores && classes == other.classes;
    }
};

/// Answers what a file does not say of its network but the network does; session.hpp makes one.
class TRTPOSE_API NetworkProbe {
public:
    virtual ~NetworkProbe();
    /// The shape of each output, in the file's order, for one picture of `size`; -1 where it depends on the picture.
    /// Throws Error where that is not to be had.
    virtual std::vector<std::vector<int64_t>> shapes(Size size) = 0;
    /// The numbers of output `index` for one picture of noise of `size`. Throws Error where it cannot be run here.
    virtual std::vector<float> numbers(size_t index, Size size) = 0;
    /// From now on outputs whose number of rows depends on the picture have so many, zeros behind those there are. See
    /// Session::give_room.
    virtual void give_room(int64_t rows);
};

/// Find the spec of a model file: `given` if not empty (the path of a JSON file, or the JSON text itself, which begins
/// with a brace), else the file's own metadata, else a neighbouring .json of
/// the same name, else what names, ranks and shapes leave no doubt about. Checks that it fits the file's tensors.
/// `probe` is asked where the file leaves shapes open or a run would tell its family; without one such files are
/// refused. Throws Error(model), saying what would settle it.
TRTPOSE_API FoundSpec find_spec(const ModelFile& file, const std::string& given = {}, NetworkProbe* probe = nullptr);

/// Refuse a model with decode and NMS inside. Throws Error(model).
TRTPOSE_API void check_raw(const ModelFile& file);

/// Check that a spec fits a file's tensors. Throws Error(model).
TRTPOSE_API void check_spec(const ModelSpec& spec, const ModelFile& file);

}  // namespace trtpose
