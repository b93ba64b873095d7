// SPDX-License-Identifier: Apache-2.0
// What a caller may ask for: of a call and of an engine.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>

#include "trtpose/types.hpp"

namespace trtpose {

/// Thresholds; arguments of every call, the engine's are the defaults.
struct Thresholds {
    float conf = 0.25f;     ///< keep where objectness and score are above, 0 to 1
    float iou = 0.65f;      ///< suppress where the overlap (or OKS) is above, 0 to 1
    int max_det = 300;      ///< poses per frame at most
    bool agnostic = false;  ///< suppress across classes
    bool oks = false;       ///< likeness of keypoints instead of overlap of boxes; needs the spec's sigmas
    bool operator==(const Thresholds& o) const {
        return conf == o.conf && iou == o.iou && max_det == o.max_det && agnostic == o.agnostic && oks == o.oks;
    }
};

/// Throws Error(input) naming the one that is out of its range.
TRTPOSE_API void check_thresholds(const Thresholds& thresholds);

struct EngineOptions {
    /// Of calls that name no thresholds: those of Thresholds one by one, so that C++20 takes {.conf = 0.3f, .batch =
    /// 8}.
    float conf = Thresholds{}.conf;
    float iou = Thresholds{}.iou;
    int max_det = Thresholds{}.max_det;
    bool agnostic = Thresholds{}.agnostic;
    bool oks = Thresholds{}.oks;
    std::string device = "auto";    ///< auto, cpu, cuda or cuda:N
    std::string precision = "f32";  ///< f32, fp16, bf16 or auto
    std::string spec = {};          ///< model spec for models that carry none: path of a JSON file, or the JSON text
    Size imgsz = {};                ///< input size for a network that leaves it open; {} takes the spec's
    /// Frames per run of the network at most; larger calls are split. 0: the network's own or the one it is fastest at,
    /// 1 if it leaves it open; on a GPU with a vram_budget the largest that fits.
    int batch = 0;
    bool rect = false;  ///< smallest multiple of the largest stride that holds the frame, not the whole imgsz
    int threads = 0;    ///< CPU threads; 0: all
    int streams = 1;    ///< how many clones may run at the same time on the CPU
    /// Bytes the engine may plan for; 0: no limit. Where not even the smallest batch fits, weights stay in the host's
    /// memory if the network can stream them; else opening it throws Error(budget) with the numbers.
    size_t vram_budget = 0;
    /// On a GPU: clock decode and NMS apart from the network. For measuring; it costs a little of the GPU's time and
    /// more of the graphs that are kept.
    bool stage_times = false;
    static constexpr int kMaxMaxDet = 30000;

    Thresholds thresholds() const { return {conf, iou, max_det, agnostic, oks}; }
    EngineOptions& set(const Thresholds& t) {
        std::tie(conf, iou, max_det, agnostic, oks) = std::tie(t.conf, t.iou, t.max_det, t.agnostic, t.oks);
        return *this;
    }
};

}  // namespace trtpose
