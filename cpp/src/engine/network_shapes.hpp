// SPDX-License-Identifier: Apache-2.0
// Which batches and sizes a network takes: its own where its input says so, one of an engine's profiles, or any.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/check.hpp"
#include "core/limits.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/session.hpp"

namespace trtpose::engine {

inline std::string size_text(Size size) { return text(size.height, "×", size.width); }

class NetworkShapes {
public:
    static constexpr int kMaxBatch = 1024;

    /// `most_frames`: of a run, as frames_of_own_nms() says.
    /// Throws Error(model) for an input that is no picture and for profiles that are not its.
    NetworkShapes(const SessionInfo& info, const ModelSpec& spec, int most_frames = 0)
        : name_("model " + spec.name),
          spec_size_(spec.imgsz),
          stride_(spec.max_stride()),
          most_frames_(most_frames ? most_frames : kMaxBatch),
          limited_(most_frames != 0) {
        const auto& input = info.input.shape;
        require(input.size() == 4, ErrorCode::model, name_, ": its input is ", shape_text(input), ", expected N×3×H×W");
        built_ = !info.profiles.empty();
        if (built_) {
            for (const ShapeRange& profile : info.profiles) add_profile(profile);
            return;
        }
        const auto side = [&](size_t i, int open) { return input[i] > 0 ? narrow(input[i]) : open; };
        ranges_.push_back({{side(0, 1), {side(2, 1), side(3, 1)}},
                           {side(0, 1), {side(2, spec_size_.height), side(3, spec_size_.width)}},
                           {side(0, most_frames_), {side(2, kMaxSide), side(3, kMaxSide)}}});
    }

    /// The spec's size where the network takes it, else the one it is fastest at.
    Size usual_size() const { return takes(spec_size_) ? spec_size_ : ranges_[0].opt.size; }
    bool one_size() const {
        return std::all_of(ranges_.begin(), ranges_.end(), [&](const Range& r) {
            return r.min.size == r.max.size && r.min.size == ranges_[0].min.size;
        });
    }

    /// Throws Error(input) with what would do.
    void check_size(Size size) const {
        require(size.height > 0 && size.width > 0 && size.height <= kMaxSide && size.width <= kMaxSide,
                ErrorCode::input, "imgsz ", size_text(size), " must lie between ", stride_, " and ", kMaxSide);
        require(size.height % stride_ == 0 && size.width % stride_ == 0, ErrorCode::input, "imgsz ", size_text(size),
                " must be a multiple of the largest stride, ", stride_, ": try ",
                size_text({up(size.height), up(size.width)}));
        if (takes(size)) return;
        std::string known;
        for (const Range& r : ranges_) known += (known.empty() ? "" : ", or ") + sizes(r);
        const std::string wanted = size.height == size.width ? text(size.height) : text(size.height, "x", size.width);
        throw Error(ErrorCode::input, text("imgsz ", size_text(size), ": ", name_, " takes ", known, "; ",
                                           built_ ? "build it again with trtpose build MODEL.onnx --imgsz " + wanted
                                                  : std::string("export it with a dynamic size"),
                                           " or leave imgsz out"));
    }

    /// Throws Error(input) with what would do.
    void check_batch(int batch, Size size) const {
        if (padded(batch, size) == batch) return;
        std::string known, profiles;
        for (const Range& r : ranges_) {
            if (!holds(r, size)) continue;
            known +=
                (known.empty() ? "" : ", or ") +
                (r.min.batch == r.max.batch ? text(r.min.batch, " alone") : text(r.min.batch, " to ", r.max.batch));
            profiles += (profiles.empty() ? "" : ", ") + shape(r.min) + " to " + shape(r.max);
        }
        throw Error(ErrorCode::input,
                    text("batch ", batch, ": ", name_, " takes ", known,
                         limited_ ? text(", as many as its own NMS was exported for; export it with batch=", batch,
                                         ", or without nms=True,")
                         : built_ ? text(" at ", size_text(size), " (profile ", profiles,
                                         "); build it again with trtpose build MODEL.onnx --batch ", batch)
                                  : std::string("; export it with a dynamic batch"),
                         " or leave batch out"));
    }

    /// The smallest batch with room for `count` frames; 0: there is none.
    int padded(int count, Size size) const {
        int best = 0;
        for (const Range& r : ranges_) {
            if (!holds(r, size) || r.max.batch < count) continue;
            const int batch = std::max(count, r.min.batch);
            best = best ? std::min(best, batch) : batch;
        }
        return best;
    }
    int smallest_batch(Size size) const { return padded(1, size); }
    int largest_batch(Size size) const {
        int most = 0;
        for (const Range& r : ranges_) most = holds(r, size) ? std::max(most, r.max.batch) : most;
        return most;
    }
    /// What the network is fastest at, 1 where nothing says so.
    int usual_batch(Size size) const {
        const auto found = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return holds(r, size); });
        return found->opt.batch;
    }
    /// Whether the number of frames is open and nothing bounds it.
    bool any_batch() const { return !built_ && !limited_ && ranges_[0].min.batch != ranges_[0].max.batch; }

    /// The smallest size the network takes with room for `height` × `width` pixels; `otherwise` if there is none.
    Size smallest_size(int height, int width, Size otherwise) const {
        Size best = otherwise;
        const auto area = [](Size s) { return static_cast<int64_t>(s.height) * s.width; };
        for (const Range& r : ranges_) {
            const Size size{up(std::max(height, r.min.size.height)), up(std::max(width, r.min.size.width))};
            if (holds(r, size) && area(size) < area(best)) best = size;
        }
        return best;
    }

    /// `least`, made as wide as `width` pixels want it, or as wide as the network can be at that height.
    Size widened(Size least, int width) const {
        int best = least.width;
        for (const Range& r : ranges_) {
            if (holds(r, least)) best = std::max(best, std::min(up(width), r.max.size.width / stride_ * stride_));
        }
        return {least.height, best};
    }

private:
    struct Shape {
        int batch;
        Size size;
    };
    struct Range {
        Shape min, opt, max;
    };

    static int narrow(int64_t side) { return static_cast<int>(std::min<int64_t>(side, 1 << 30)); }
    int up(int side) const { return (side + stride_ - 1) / stride_ * stride_; }

    void add_profile(const ShapeRange& profile) {
        for (const auto* one : {&profile.min, &profile.opt, &profile.max}) {
            require(one->size() == 4 && std::all_of(one->begin(), one->end(), [](int64_t d) { return d > 0; }),
                    ErrorCode::model, name_, ": a profile for inputs of ", shape_text(*one), ", expected N×3×H×W");
        }
        const auto make = [](const std::vector<int64_t>& d) {
            return Shape{narrow(d[0]), {narrow(d[2]), narrow(d[3])}};
        };
        Range range{make(profile.min), make(profile.opt), make(profile.max)};
        if (limited_) {
            require(range.min.batch <= most_frames_, ErrorCode::model, name_, ": built for ", range.min.batch,
                    " frames or more, and its own NMS looks at ", most_frames_, "; build it for fewer");
            for (Shape* one : {&range.opt, &range.max}) one->batch = std::min(one->batch, most_frames_);
        }
        ranges_.push_back(range);
    }

    static bool holds(const Range& r, Size size) {
        return size.height >= r.min.size.height && size.height <= r.max.size.height && size.width >= r.min.size.width &&
               size.width <= r.max.size.width;
    }
    bool takes(Size size) const {
        return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& r) { return holds(r, size); });
    }
    static std::string sizes(const Range& r) {
        return r.min.size == r.max.size ? size_text(r.min.size) + " alone"
                                        : size_text(r.min.size) + " to " + size_text(r.max.size);
    }
    static std::string shape(const Shape& s) { return text(s.batch, "×3×", size_text(s.size)); }

    std::string name_;
    Size spec_size_;
    int stride_;
    int most_frames_;
    bool limited_;        ///< by the network's own NMS
    bool built_ = false;  ///< for a list of profiles
    std::vector<Range> ranges_;
};

}  // namespace trtpose::engine
