// SPDX-License-Identifier: Apache-2.0
// Decode and NMS inside a TensorRT engine: raw heads in, poses in input pixels out.
#pragma once

#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "families/family.hpp"
#include "plugins/attributes.hpp"

namespace trtpose::plugins {

// The outputs, in this order.
enum Output { kNumDets, kBoxes, kScores, kClasses, kKeypoints, kOutputs };

class DecodeNms final : public nvinfer1::IPluginV3,
                        public nvinfer1::IPluginV3OneCore,
                        public nvinfer1::IPluginV3OneBuild,
                        public nvinfer1::IPluginV3OneRuntime {
public:
    /// Throws Error naming the attribute that is wrong.
    explicit DecodeNms(Attributes attributes);
    DecodeNms(const DecodeNms& other);
    DecodeNms& operator=(const DecodeNms&) = delete;
    ~DecodeNms() override = default;

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return ""; }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
                            nvinfer1::DynamicPluginTensorDesc const* out, int32_t outputs) noexcept override;
    int32_t getOutputDataTypes(nvinfer1::DataType* out, int32_t outputs, nvinfer1::DataType const* in,
                               int32_t inputs) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* in, int32_t inputs, nvinfer1::DimsExprs const* shape_inputs,
                            int32_t shape_input_count, nvinfer1::DimsExprs* out, int32_t outputs,
                            nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* tensors, int32_t inputs,
                                   int32_t outputs) noexcept override;
    int32_t getNbOutputs() const noexcept override { return kOutputs; }
    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
                            nvinfer1::DynamicPluginTensorDesc const* out, int32_t outputs) const noexcept override;
    char const* getMetadataString() noexcept override { return text_.c_str(); }

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t inputs, nvinfer1::PluginTensorDesc const* out,
                          int32_t outputs) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const* out,
                    void const* const* inputs, void* const* outputs, void* workspace,
                    cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    using Shapes = std::vector<std::vector<int64_t>>;

    void check_counts(int32_t inputs, int32_t outputs) const;
    /// What is known of a head's shape, -1 for the rest, fits the spec.
    void check_head(size_t head, const std::vector<int64_t>& shape) const;
    /// The heads as the reader wants to know them, checked.
    families::OutputShapes describe(const Shapes& shapes, nvinfer1::DataType type) const;
    size_t workspace_bytes(const Shapes& shapes, nvinfer1::DataType type) const;
    std::unique_ptr<families::PoseReader> make_reader() const;
    void get_ready(const std::vector<nvinfer1::Dims>& dims, nvinfer1::DataType type);

    Attributes attributes_;
    std::string text_;
    ModelSpec spec_;
    Thresholds thresholds_;
    std::unique_ptr<families::PoseReader> reader_;
    Shapes heads_;  ///< as the spec has them, -1 where it leaves them open

    // For the shapes of the last onShapeChange.
    std::vector<nvinfer1::Dims> dims_;
    nvinfer1::DataType type_ = nvinfer1::DataType::kFLOAT;
    families::ReaderMemory memory_;
    int batch_ = 0;
    Size size_;

    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

class DecodeNmsCreator final : public nvinfer1::IPluginCreatorV3One {
public:
    DecodeNmsCreator();
    nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* name, nvinfer1::PluginFieldCollection const* fields,
                                      nvinfer1::TensorRTPhase phase) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
    nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return ""; }

private:
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace trtpose::plugins
