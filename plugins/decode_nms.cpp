// SPDX-License-Identifier: Apache-2.0
#include "plugins/decode_nms.hpp"

#include <utility>

#include "core/buffer.hpp"
#include "core/cuda_check.hpp"
#include "plugins/log.hpp"
#include "plugins/prepare.hpp"

namespace trtpose::plugins {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

// What functions of TensorRT's return.
constexpr int32_t kOk = 0, kFailed = -1;

template <typename... Args>
void must(bool ok, const Args&... args) {
    require(ok, ErrorCode::input, kPluginName, ": ", args...);
}

std::vector<int64_t> shape_of(const Dims& dims) {
    must(dims.nbDims >= 0 && dims.nbDims <= Dims::MAX_DIMS, "a shape of ", dims.nbDims, " dimensions");
    return {dims.d, dims.d + dims.nbDims};
}

bool same(const Dims& a, const Dims& b) {
    if (a.nbDims != b.nbDims) return false;
    for (int32_t i = 0; i < a.nbDims; ++i) {
        if (a.d[i] != b.d[i]) return false;
    }
    return true;
}

bool known(const std::vector<int64_t>& shape) {
    for (const int64_t d : shape) {
        if (d < 1) return false;
    }
    return !shape.empty();
}

bool readable(DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF; }
DataType type_of(int output) { return output == kNumDets || output == kClasses ? DataType::kINT32 : DataType::kFLOAT; }

/// The workspace's parts, as the engine lays out its own.
struct Scratch {
    ops::Candidates candidates;
    float* candidate_keypoints = nullptr;  ///< for OKS alone
    int32_t* kept = nullptr;
    math::Letterbox* placements = nullptr;
    size_t bytes = 0;

    Scratch(void* base, const ops::HeadView& heads, int max_det, bool oks) {
        Planner planner(base);
        const auto images = static_cast<size_t>(heads.batch), capacity = static_cast<size_t>(heads.total_anchors);
        // Room for every anchor: none is dropped, and the answer does not depend on which came first.
        candidates.capacity = heads.total_anchors;
        candidates.counts = planner.take<int32_t>(images);
        candidates.boxes = planner.take<float>(images * capacity * 4);
        candidates.scores = planner.take<float>(images * capacity);
        candidates.classes = planner.take<int32_t>(images * capacity);
        candidates.anchors = planner.take<int32_t>(images * capacity);
        if (oks)
            candidate_keypoints = planner.take<float>(images * capacity * static_cast<size_t>(heads.keypoints) * 3);
        kept = planner.take<int32_t>(images * static_cast<size_t>(max_det));
        placements = planner.take<math::Letterbox>(images);
        bytes = planner.used();
    }
};

}  // namespace

DecodeNms::DecodeNms(Attributes attributes)
    : attributes_((attributes.check(), std::move(attributes))),
      text_(attributes_.to_text()),
      decode_(attributes_.spec()),
      nms_(attributes_.nms_params(), attributes_.sigmas) {
    // Found out here rather than at the first run.
    const ops::HeadView heads;
    must(decode_.workspace_bytes(heads, {DeviceType::cuda, 0}) == 0 &&
             nms_.workspace_bytes(1, 1, {DeviceType::cuda, 0}) == 0,
         "the operations need a workspace that this plugin does not plan");
}

// The fields point into the object they are of.
DecodeNms::DecodeNms(const DecodeNms& other)
    : IPluginV3(other),
      IPluginV3OneCore(other),
      IPluginV3OneBuild(other),
      IPluginV3OneRuntime(other),
      attributes_(other.attributes_),
      text_(other.text_),
      decode_(other.decode_),
      nms_(other.nms_),
      dims_(other.dims_),
      type_(other.type_),
      heads_(other.heads_),
      size_(other.size_) {}

nvinfer1::IPluginCapability* DecodeNms::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
    switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

nvinfer1::IPluginV3* DecodeNms::clone() noexcept {
    return guarded<IPluginV3*>(nullptr, [&] { return new DecodeNms(*this); });
}

nvinfer1::IPluginV3* DecodeNms::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

nvinfer1::PluginFieldCollection const* DecodeNms::getFieldsToSerialize() noexcept {
    return guarded<nvinfer1::PluginFieldCollection const*>(nullptr, [&] {
        fields_ = attributes_.fields();
        collection_.nbFields = static_cast<int32_t>(fields_.size());
        collection_.fields = fields_.data();
        return &collection_;
    });
}

// ---- Shapes --------------------------------------------------------------------------------------------------------

void DecodeNms::check_counts(int32_t inputs, int32_t outputs) const {
    must(inputs == attributes_.heads(), inputs, " inputs where layout ", attributes_.layout, " has ",
         attributes_.heads(), attributes_.raw() ? ", one for each of strides" : "");
    must(outputs == kOutputs, outputs, " outputs, expected ", static_cast<int>(kOutputs),
         ": num_dets, boxes, scores, classes, keypoints");
}

void DecodeNms::check_head(size_t head, const std::vector<int64_t>& shape) const {
    const int64_t keypoints = static_cast<int64_t>(attributes_.num_keypoints) * attributes_.keypoint_dims;
    const int64_t classes = attributes_.num_classes, fields = 5 + classes + keypoints;
    const int64_t anchors =
        attributes_.raw() ? static_cast<int64_t>(attributes_.anchors.size() / (2 * attributes_.strides.size())) : 0;
    std::vector<int64_t> expected;
    if (attributes_.layout == "heads") {
        expected = {-1, anchors * fields, -1, -1};
    } else if (attributes_.layout == "heads5d") {
        expected = {-1, anchors, -1, -1, fields};
    } else if (attributes_.layout == "channels_first") {
        expected = {-1, 4 + classes + keypoints, -1};
    } else {
        expected = {-1, -1, attributes_.layout == "final" ? 6 + keypoints : fields};
    }
    bool fits = shape.size() == expected.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || expected[i] < 0 || shape[i] == expected[i];
    must(fits, "input ", head, " has shape ", shape_text(shape), ", layout ", attributes_.layout, " with ", classes,
         " class(es) and ", attributes_.num_keypoints, " keypoints expects ", shape_text(expected));
}

Size DecodeNms::input_size(const Shapes& shapes) const {
    if (!attributes_.raw()) return {attributes_.imgsz[0], attributes_.imgsz[1]};
    constexpr size_t rows = 2;  // of N × (A·F) × h × w and of N × A × h × w × F
    constexpr int64_t kMost = 1 << 20;
    const int64_t height = shapes[0][rows] * attributes_.strides[0],
                  width = shapes[0][rows + 1] * attributes_.strides[0];
    must(height > 0 && height <= kMost && width > 0 && width <= kMost, "an input of ", height, "×", width, " pixels");
    return {static_cast<int>(height), static_cast<int>(width)};
}

ops::HeadView DecodeNms::view(const Shapes& shapes, DataType type) const {
    for (size_t i = 0; i < shapes.size(); ++i) check_head(i, shapes[i]);
    const std::vector<const void*> no_data(shapes.size(), nullptr);
    return decode_.view(shapes, no_data, type == DataType::kHALF ? DType::f16 : DType::f32, input_size(shapes));
}

int32_t DecodeNms::getOutputDataTypes(DataType* out, int32_t outputs, DataType const* in,
                                      int32_t inputs) const noexcept {
    return guarded(kFailed, [&] {
        check_counts(inputs, outputs);
        for (int32_t i = 0; i < inputs; ++i) {
            must(readable(in[i]), "input ", i, " is neither float32 nor float16");
            must(in[i] == in[0], "input ", i, " is of another type than the first; give all heads one");
        }
        for (int i = 0; i < kOutputs; ++i) out[i] = type_of(i);
        return kOk;
    });
}

int32_t DecodeNms::getOutputShapes(nvinfer1::DimsExprs const* in, int32_t inputs, nvinfer1::DimsExprs const*,
                                   int32_t shape_input_count, nvinfer1::DimsExprs* out, int32_t outputs,
                                   nvinfer1::IExprBuilder& builder) noexcept {
    return guarded(kFailed, [&] {
        check_counts(inputs, outputs);
        must(shape_input_count == 0, shape_input_count, " inputs are shapes; this plugin takes none");
        for (int32_t i = 0; i < inputs; ++i) {
            std::vector<int64_t> shape;
            for (int32_t d = 0; d < in[i].nbDims; ++d)
                shape.push_back(in[i].d[d]->isConstant() ? in[i].d[d]->getConstantValue() : -1);
            check_head(static_cast<size_t>(i), shape);
        }
        const auto* const batch = in[0].d[0];
        const auto* const most = builder.constant(attributes_.max_det);
        out[kNumDets] = {2, {batch, builder.constant(1)}};
        out[kBoxes] = {3, {batch, most, builder.constant(4)}};
        out[kScores] = {2, {batch, most}};
        out[kClasses] = {2, {batch, most}};
        out[kKeypoints] = {4, {batch, most, builder.constant(attributes_.num_keypoints), builder.constant(3)}};
        return kOk;
    });
}

bool DecodeNms::supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t inputs,
                                          int32_t outputs) noexcept {
    if (pos < 0 || pos >= inputs + outputs || outputs != kOutputs) return false;
    const PluginTensorDesc& desc = tensors[pos].desc;
    if (desc.format != nvinfer1::TensorFormat::kLINEAR) return false;
    if (pos < inputs) return readable(desc.type) && desc.type == tensors[0].desc.type;
    return desc.type == type_of(pos - inputs);
}

int32_t DecodeNms::configurePlugin(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                                   int32_t outputs) noexcept {
    return guarded(kFailed, [&] {
        check_counts(inputs, outputs);
        Shapes least, most;
        for (int32_t i = 0; i < inputs; ++i) {
            check_head(static_cast<size_t>(i), shape_of(in[i].desc.dims));
            least.push_back(shape_of(in[i].min));
            most.push_back(shape_of(in[i].max));
        }
        for (const Shapes& shapes : {least, most}) {
            bool all_known = true;
            for (const auto& shape : shapes) all_known = all_known && known(shape);
            if (all_known) static_cast<void>(view(shapes, in[0].desc.type));
        }
        return kOk;
    });
}

size_t DecodeNms::getWorkspaceSize(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                                   int32_t) const noexcept {
    return guarded(size_t{0}, [&] {
        Shapes shapes;
        for (int32_t i = 0; i < inputs; ++i) shapes.push_back(shape_of(in[i].max));
        return Scratch(nullptr, view(shapes, in[0].desc.type), attributes_.max_det, oks()).bytes;
    });
}

// ---- Running -------------------------------------------------------------------------------------------------------

int32_t DecodeNms::onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*,
                                 int32_t outputs) noexcept {
    return guarded(kFailed, [&] {
        check_counts(inputs, outputs);
        Shapes shapes;
        std::vector<Dims> dims;
        for (int32_t i = 0; i < inputs; ++i) {
            must(readable(in[i].type) && in[i].type == in[0].type, "input ", i,
                 " is neither float32 nor float16, or of another type than the first");
            must(in[i].format == nvinfer1::TensorFormat::kLINEAR, "input ", i, " is not linear");
            shapes.push_back(shape_of(in[i].dims));
            dims.push_back(in[i].dims);
        }
        heads_ = view(shapes, in[0].type);
        size_ = input_size(shapes);
        type_ = in[0].type;
        dims_ = std::move(dims);
        return kOk;
    });
}

int32_t DecodeNms::enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
                           void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
    return guarded(kFailed, [&] {
        bool ready = !dims_.empty() && in[0].type == type_;
        for (size_t i = 0; ready && i < dims_.size(); ++i) ready = same(in[i].dims, dims_[i]);
        if (!ready && onShapeChange(in, attributes_.heads(), nullptr, kOutputs) != kOk) return kFailed;
        must(workspace, "enqueue was given no workspace");
        for (int l = 0; l < heads_.levels; ++l) heads_.level[l].data = inputs[l];

        Context context;
        context.device.type = DeviceType::cuda;
        cuda_check(cudaGetDevice(&context.device.index), "tell which GPU is current");
        context.stream = stream;
        const Scratch scratch(workspace, heads_, attributes_.max_det, oks());
        const ops::Detections kept{static_cast<int32_t*>(outputs[kNumDets]), scratch.kept, attributes_.max_det};
        const ops::PoseArrays poses{static_cast<float*>(outputs[kBoxes]), static_cast<float*>(outputs[kScores]),
                                    static_cast<int32_t*>(outputs[kClasses]), static_cast<float*>(outputs[kKeypoints])};
        prepare_cuda(poses, scratch.placements, heads_.batch, attributes_.max_det, attributes_.num_keypoints,
                     size_.height, size_.width, stream);
        decode_(heads_, attributes_.conf, scratch.candidates, {}, context);
        if (oks()) decode_.keypoints(heads_, scratch.candidates, scratch.candidate_keypoints, context);
        nms_(scratch.candidates, heads_.batch, scratch.candidate_keypoints, kept, {}, context);
        decode_.poses(heads_, scratch.candidates, kept, scratch.placements, poses, context);
        return kOk;
    });
}

// ---- Creation ------------------------------------------------------------------------------------------------------

DecodeNmsCreator::DecodeNmsCreator() : fields_(Attributes::names()) {
    collection_.nbFields = static_cast<int32_t>(fields_.size());
    collection_.fields = fields_.data();
}

nvinfer1::IPluginV3* DecodeNmsCreator::createPlugin(nvinfer1::AsciiChar const*,
                                                    nvinfer1::PluginFieldCollection const* fields,
                                                    nvinfer1::TensorRTPhase) noexcept {
    return guarded<nvinfer1::IPluginV3*>(nullptr, [&] {
        must(fields, "no fields were given");
        return new DecodeNms(Attributes::read(*fields));
    });
}

}  // namespace trtpose::plugins
