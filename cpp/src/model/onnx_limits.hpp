// SPDX-License-Identifier: Apache-2.0
// Which ONNX files the libraries behind trtpose were made for. What lies outside is refused before one of them sees it;
// what they do with it is not written anywhere. tests/python/formats/test_onnx_limits.py holds the numbers against what
// the installed libraries say of themselves.
#pragma once

#include <cstdint>
#include <string_view>

namespace trtpose {

/// Of ModelProto.ir_version. Before 3 there were no opsets. ONNX Runtime 1.31 takes 13 and says so; OpenVINO 2026.4 is
/// built on ONNX 1.22, whose IR_VERSION that is.
inline constexpr int64_t kMinIrVersion = 3, kMaxIrVersion = 13;

struct OpsetLimit {
    std::string_view domain;
    int64_t highest;
};

/// Highest versions of operator sets. ai.onnx: OpenVINO 2026.4 is built on ONNX 1.22, which has 27; ONNX Runtime 1.31
/// says "till opset 26". The others: the same release of ONNX (docs/Versioning.md there) and ONNX Runtime's own.
/// TensorRT states no highest one.
inline constexpr OpsetLimit kOpsetLimits[] = {
    {"", 26},
    {"ai.onnx", 26},
    {"ai.onnx.ml", 5},
    {"ai.onnx.training", 1},
    {"ai.onnx.preview", 1},
    {"ai.onnx.preview.training", 1},
    {"com.microsoft", 1},
    {"com.microsoft.nchwc", 1},
    {"org.openvinotoolkit", 1},
};

/// Of a domain that none of the libraries defines: whoever made the operators counts them.
inline constexpr int64_t kMaxForeignOpset = 100;
inline constexpr int kMaxOpsets = 32;  ///< domains in one file

/// Bytes of an ONNX file together with the weights in files beside it: what a protocol buffer can hold.
inline constexpr uint64_t kMaxOnnxBytes = (uint64_t{1} << 31) - 1;
/// Numbers in one tensor of a network: what 32-bit indices reach, and TensorRT takes.
inline constexpr int64_t kMaxTensorNumbers = (int64_t{1} << 31) - 1;

inline constexpr int64_t highest_opset(std::string_view domain) {
    for (const OpsetLimit& limit : kOpsetLimits) {
        if (limit.domain == domain) return limit.highest;
    }
    return kMaxForeignOpset;
}

}  // namespace trtpose
