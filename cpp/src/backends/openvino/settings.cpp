// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/settings.hpp"

#include <sched.h>

#include <algorithm>
#include <string>

#include "core/check.hpp"

namespace trtpose::openvino {
namespace {

int usable_cores() {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

}  // namespace

std::vector<ov::AnyMap> lane_configs(const SessionOptions& options) {
    std::vector<ov::AnyMap> out(static_cast<size_t>(options.streams));
    if (options.streams == 1) {
        if (options.threads > 0) out[0].emplace(ov::inference_num_threads(options.threads));
        return out;
    }
    const int threads = options.threads > 0 ? options.threads : usable_cores();
    for (int i = 0; i < options.streams; ++i) {
        const int own = threads / options.streams + (i < threads % options.streams ? 1 : 0);
        auto& config = out[static_cast<size_t>(i)];
        config.emplace(ov::inference_num_threads(std::max(1, own)));
        // Each would take the same cores.
        config.emplace(ov::hint::enable_cpu_pinning(false));
    }
    return out;
}

int threads_of_lane(const SessionOptions& options) {
    return std::max(1, (options.threads > 0 ? options.threads : usable_cores()) / options.streams);
}

void set_precision(ov::AnyMap& config, const std::string& precision, const ov::Core& core) {
    // f32 unless asked otherwise: left alone, OpenVINO computes in bf16 on CPUs that can, which moves keypoints.
    if (precision == "f32") {
        config.emplace(ov::hint::inference_precision(ov::element::f32));
    } else if (precision == "bf16" || precision == "fp16") {
        const auto type = precision == "bf16" ? ov::element::bf16 : ov::element::f16;
        const auto abilities = core.get_property("CPU", ov::device::capabilities);
        const char* needed = precision == "bf16" ? ov::device::capability::BF16 : ov::device::capability::FP16;
        require(std::find(abilities.begin(), abilities.end(), needed) != abilities.end(), ErrorCode::device,
                "precision ", precision, ": this CPU has no ", precision, " arithmetic; use f32");
        config.emplace(ov::hint::inference_precision(type));
    } else {
        require(precision == "auto", ErrorCode::input, "precision '", precision,
                "' is not known; use f32, fp16, bf16 or auto");
    }
}

void refuse_misread(const ModelFile& file) {
    const auto refuse = [&](const char* attribute, const char* what) {
        require(!file.rare_attributes.count(attribute), ErrorCode::model, file.path, ": OpenVINO reads ", attribute,
                " wrongly, so that ", what);
    };
    refuse("ConvTranspose.output_shape",
           "every keypoint would be moved; export the model with a fixed input size, or with pads in its place");
    refuse("Resize.keep_aspect_ratio_policy",
           "what is found may be stretched; export the model without this Resize, trtpose fits frames in itself");
    refuse("Resize.antialias", "every answer may be another; export the model with antialias switched off");
    refuse("Resize.exclude_outside", "every answer is another; export the model with exclude_outside switched off");
    if (file.opset < 13 || file.opset > 17) return;
    for (const char* kind : {"ReduceL1", "ReduceLogSum", "ReduceLogSumExp"}) {
        require(!file.rare_attributes.count(std::string(kind) + ".axes"), ErrorCode::model, file.path, ": its ", kind,
                " of opset ", file.opset,
                " would be computed over all axes by OpenVINO, so that every answer is wrong; convert the model to "
                "opset 18 with onnx.version_converter.convert_version, or export it with that opset");
    }
}

}  // namespace trtpose::openvino
