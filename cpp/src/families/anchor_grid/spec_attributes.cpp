// SPDX-License-Identifier: Apache-2.0
#include "families/anchor_grid/spec_attributes.hpp"

#include <cmath>

#include "core/check.hpp"
#include "families/anchor_grid/layout.hpp"
#include "trtpose/views.hpp"

namespace trtpose::anchor_grid {
namespace {

constexpr int kMaxClasses = 1 << 16;
constexpr int kMaxKeypoints = 1 << 16;
constexpr int kMaxSide = 1 << 20;

class Checks {
public:
    Checks(const SpecAttributes& attributes, const std::string& who) : a_(attributes), who_(who) {}

    Layout layout() const {
        for (const Layout l : {Layout::heads, Layout::heads5d, Layout::decoded, Layout::channels_first, Layout::final})
            if (a_.layout == to_string(l)) return l;
        must(false, "layout is \"", a_.layout, "\", expected heads, heads5d, decoded, channels_first or final");
        return {};
    }

    void numbers() const {
        must(a_.num_classes >= 1 && a_.num_classes <= kMaxClasses, "num_classes is ", a_.num_classes,
             ", expected 1 to ", kMaxClasses);
        must(a_.num_keypoints >= 1 && a_.num_keypoints <= kMaxKeypoints, "num_keypoints is ", a_.num_keypoints,
             ", expected 1 to ", kMaxKeypoints);
        must(a_.keypoint_dims == 2 || a_.keypoint_dims == 3, "keypoint_dims is ", a_.keypoint_dims,
             ", expected 2 or 3");
        must(a_.sigmas.empty() || a_.sigmas.size() == static_cast<size_t>(a_.num_keypoints), "sigmas has ",
             a_.sigmas.size(), " numbers for ", a_.num_keypoints, " keypoints");
        for (const float s : a_.sigmas)
            must(s > 0 && std::isfinite(s), "sigmas holds ", s, ", expected numbers above 0");
    }

    void grid() const {
        constexpr int kMaxLevels = ops::HeadView::kMaxLevels, kMaxAnchors = ops::HeadLevel::kMaxAnchors;
        must(!a_.strides.empty() && a_.strides.size() <= kMaxLevels, "strides has ", a_.strides.size(),
             " numbers, expected one for each head, at most ", kMaxLevels);
        for (const int32_t s : a_.strides)
            must(s > 0 && s <= kMaxSide, "strides holds ", s, ", expected pixels per cell");
        const size_t pairs = a_.strides.size() * 2;
        must(!a_.anchors.empty() && a_.anchors.size() % pairs == 0, "anchors has ", a_.anchors.size(),
             " numbers, expected a width and a height for as many anchors of each of ", a_.strides.size(), " strides");
        must(a_.anchors.size() / pairs <= kMaxAnchors, "anchors has ", a_.anchors.size() / pairs,
             " for each stride, at most ", kMaxAnchors, " are supported");
        for (const float a : a_.anchors) must(a > 0 && std::isfinite(a), "anchors holds ", a, ", expected pixels");
    }

    void size() const {
        const auto& s = a_.imgsz;
        must(s.size() == 2 && s[0] > 0 && s[1] > 0 && s[0] <= kMaxSide && s[1] <= kMaxSide,
             "imgsz must be the height and the width of the input for layout ", a_.layout);
    }

private:
    template <typename... Args>
    void must(bool ok, const Args&... args) const {
        require(ok, ErrorCode::input, who_, ": ", args...);
    }

    const SpecAttributes& a_;
    const std::string& who_;
};

}  // namespace

SpecAttributes SpecAttributes::of(const ModelSpec& spec) {
    SpecAttributes out;
    out.layout = to_string(spec.layout);
    out.strides.assign(spec.strides.begin(), spec.strides.end());
    for (const auto& level : spec.anchors) {
        for (const auto& [width, height] : level) out.anchors.insert(out.anchors.end(), {width, height});
    }
    out.num_classes = spec.classes();
    out.num_keypoints = spec.keypoints;
    out.keypoint_dims = spec.keypoint_dims;
    out.imgsz = {spec.imgsz.height, spec.imgsz.width};
    out.sigmas = spec.sigmas;
    return out;
}

ModelSpec SpecAttributes::spec(const std::string& who) const {
    const Checks check(*this, who);
    ModelSpec spec;
    spec.layout = check.layout();
    check.numbers();
    spec.strides.assign(strides.begin(), strides.end());
    for (int c = 0; c < num_classes; ++c) spec.names.push_back(std::to_string(c));
    spec.keypoints = num_keypoints;
    spec.keypoint_dims = keypoint_dims;
    spec.sigmas = sigmas;
    if (!is_raw(spec.layout)) {
        check.size();
        spec.imgsz = {imgsz[0], imgsz[1]};
        return spec;
    }
    check.grid();
    const size_t each_level = anchors.size() / strides.size();
    for (size_t l = 0; l < strides.size(); ++l) {
        auto& level = spec.anchors.emplace_back();
        for (size_t i = 0; i < each_level; i += 2)
            level.emplace_back(anchors[l * each_level + i], anchors[l * each_level + i + 1]);
    }
    return spec;
}

}  // namespace trtpose::anchor_grid
