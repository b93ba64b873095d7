// SPDX-License-Identifier: Apache-2.0
// Engine files as trtpose build and others write them, around bytes that only look like a plan.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/crc32.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::test {

/// A plan's first bytes, with the version where trtexec looks for it, then `rest`.
inline std::string plan_bytes(const std::string& magic, const std::vector<int>& version, const std::string& rest) {
    std::string out(28, '\0');
    out.replace(0, 4, magic);
    for (size_t i = 0; i < 4; ++i) out[24 + i] = static_cast<char>(version[i]);
    return out + rest;
}

inline std::string with_length(const std::string& header, const std::string& plan) {
    const auto length = static_cast<uint32_t>(header.size());
    std::string out(4, '\0');
    for (size_t i = 0; i < 4; ++i) out[i] = static_cast<char>(length >> (8 * i));
    return out + header + plan;
}

/// What goes into a header, as JSON texts; empty ones are left out.
struct EngineHeader {
    std::string spec;  ///< of the model
    std::string runtime = "tensorrt", version = "10.13.0.35", precision = "fp16";
    std::string inputs = R"([{"name": "images", "dtype": "float32", "shape": [-1, 3, 64, 96]}])";
    std::string outputs = R"([{"name": "output", "dtype": "float32", "shape": [-1, 11, 96]}])";
    std::string profiles = R"([{"images": {"min": [1, 3, 64, 96], "opt": [2, 3, 64, 96], "max": [4, 3, 64, 96]}}])";
    std::string more;  ///< further entries of trtpose_engine, each with a comma in front

    std::string text(const std::string& plan) const {
        std::string out = R"({"description": "people", "task": "pose", "stride": 8, "batch": 1, "imgsz": [64, 96],
            "names": {"0": "person"}, "kpt_shape": [2, 3], "end2end": false, )";
        if (!spec.empty()) out += "\"trtpose\": " + spec + ", ";
        out += R"("trtpose_engine": {"format": 1, "runtime": ")" + runtime + R"(", "version": ")" + version +
               R"(", "precision": ")" + precision + R"(", "inputs": )" + inputs + R"(, "outputs": )" + outputs +
               R"(, "profiles": )" + profiles + more + R"(, "plan": {"bytes": )" + std::to_string(plan.size()) +
               R"(, "crc32": )" + std::to_string(crc32(plan)) + "}}}";
        return out;
    }
    std::string file(const std::string& plan) const { return with_length(text(plan), plan); }
};

}  // namespace trtpose::test
