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
// For sums of memory, which are the same on every GPU.
constexpr Device kAnyGpu{DeviceType::cuda, 0};

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

/// The workspace's parts.
struct Scratch {
    families::ReadBuffers read;
    math::Letterbox* placements = nullptr;
    size_t bytes = 0;

    Scratch(void* base, const families::ReaderMemory& memory, int batch) {
        Planner planner(base);
        read.held = planner.take<char>(memory.held);
        read.scratch = {planner.take<char>(memory.scratch), memory.scratch};
        placements = planner.take<math::Letterbox>(static_cast<size_t>(batch));
        bytes = planner.used();
    }
};

}  // namespace

DecodeNms::DecodeNms(Attributes attributes)
    : attributes_(std::move(attributes)),
      text_(attributes_.to_text()),
      spec_(attributes_.checked_spec()),
      thresholds_(attributes_.thresholds()),
      reader_(make_reader()),
      heads_(reader_->outputs()) {}

// The fields point into the object they are of.
DecodeNms::DecodeNms(const DecodeNms& other)
    : IPluginV3(other),
      IPluginV3OneCore(other),
      IPluginV3OneBuild(other),
      IPluginV3OneRuntime(other),
      attributes_(other.attributes_),
      text_(other.text_),
      spec_(other.spec_),
      thresholds_(other.thresholds_),
      reader_(make_reader()),
      heads_(other.heads_) {
    if (!other.dims_.empty()) get_ready(other.dims_, other.type_);
}

std::unique_ptr<families::PoseReader> DecodeNms::make_reader() const {
    return families::family_of(spec_).reader(spec_, attributes_.max_candidates);
}

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
    const auto heads = static_cast<int32_t>(heads_.size());
    must(inputs == heads, inputs, " inputs where layout ", to_string(spec_.layout), " has ", heads,
         spec_.anchors.empty() ? "" : ", one for each of strides");
    must(outputs == kOutputs, outputs, " outputs, expected ", static_cast<int>(kOutputs),
         ": num_dets, boxes, scores, classes, keypoints");
}

void DecodeNms::check_head(size_t head, const std::vector<int64_t>& shape) const {
    const std::vector<int64_t>& expected = heads_[head];
    bool fits = shape.size() == expected.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || expected[i] < 0 || shape[i] == expected[i];
    must(fits, "input ", head, " has shape ", shape_text(shape), ", layout ", to_string(spec_.layout), " with ",
         spec_.classes(), " class(es) and ", spec_.keypoints, " keypoints expects ", shape_text(expected));
}

families::OutputShapes DecodeNms::describe(const Shapes& shapes, DataType type) const {
    for (size_t i = 0; i < shapes.size(); ++i) check_head(i, shapes[i]);
    // What does not tell its size is of the one size that the spec names.
    const Size told = reader_->input_size(shapes);
    return {shapes, type == DataType::kHALF ? DType::f16 : DType::f32, static_cast<int>(shapes[0][0]),
            told.height ? told : spec_.imgsz};
}

size_t DecodeNms::workspace_bytes(const Shapes& shapes, DataType type) const {
    const families::OutputShapes outputs = describe(shapes, type);
    return Scratch(nullptr, make_reader()->plan(outputs, thresholds_, kAnyGpu), outputs.batch).bytes;
}

void DecodeNms::get_ready(const std::vector<Dims>& dims, DataType type) {
    Shapes shapes;
    for (const Dims& d : dims) shapes.push_back(shape_of(d));
    const families::OutputShapes outputs = describe(shapes, type);
    memory_ = reader_->plan(outputs, thresholds_, kAnyGpu);
    batch_ = outputs.batch;
    size_ = outputs.input;
    type_ = type;
    dims_ = dims;
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
        const auto* const most = builder.constant(thresholds_.max_det);
        out[kNumDets] = {2, {batch, builder.constant(1)}};
        out[kBoxes] = {3, {batch, most, builder.constant(4)}};
        out[kScores] = {2, {batch, most}};
        out[kClasses] = {2, {batch, most}};
        out[kKeypoints] = {4, {batch, most, builder.constant(spec_.keypoints), builder.constant(3)}};
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
            if (all_known) static_cast<void>(workspace_bytes(shapes, in[0].desc.type));
        }
        return kOk;
    });
}

size_t DecodeNms::getWorkspaceSize(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                                   int32_t) const noexcept {
    return guarded(size_t{0}, [&] {
        Shapes shapes;
        for (int32_t i = 0; i < inputs; ++i) shapes.push_back(shape_of(in[i].max));
        return workspace_bytes(shapes, in[0].desc.type);
    });
}

// ---- Running -------------------------------------------------------------------------------------------------------

int32_t DecodeNms::onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*,
                                 int32_t outputs) noexcept {
    return guarded(kFailed, [&] {
        check_counts(inputs, outputs);
        std::vector<Dims> dims;
        for (int32_t i = 0; i < inputs; ++i) {
            must(readable(in[i].type) && in[i].type == in[0].type, "input ", i,
                 " is neither float32 nor float16, or of another type than the first");
            must(in[i].format == nvinfer1::TensorFormat::kLINEAR, "input ", i, " is not linear");
            dims.push_back(in[i].dims);
        }
        get_ready(dims, in[0].type);
        return kOk;
    });
}

int32_t DecodeNms::enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
                           void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
    return guarded(kFailed, [&] {
        bool ready = !dims_.empty() && in[0].type == type_;
        for (size_t i = 0; ready && i < dims_.size(); ++i) ready = same(in[i].dims, dims_[i]);
        if (!ready && onShapeChange(in, static_cast<int32_t>(heads_.size()), nullptr, kOutputs) != kOk) return kFailed;
        must(workspace, "enqueue was given no workspace");

        Context context;
        context.device.type = DeviceType::cuda;
        cuda_check(cudaGetDevice(&context.device.index), "tell which GPU is current");
        context.stream = stream;
        Scratch scratch(workspace, memory_, batch_);
        const ops::PoseArrays poses{static_cast<float*>(outputs[kBoxes]), static_cast<float*>(outputs[kScores]),
                                    static_cast<int32_t*>(outputs[kClasses]), static_cast<float*>(outputs[kKeypoints])};
        scratch.read.results = {static_cast<int32_t*>(outputs[kNumDets]), poses};
        prepare_cuda(poses, scratch.placements, batch_, thresholds_.max_det, spec_.keypoints, size_.height, size_.width,
                     stream);
        reader_->read({inputs, heads_.size()}, batch_, thresholds_, scratch.placements, scratch.read, context, {});
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
