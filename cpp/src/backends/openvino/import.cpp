// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/import.hpp"

#include <algorithm>
#include <exception>
#include <istream>
#include <openvino/frontend/manager.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <stdexcept>
#include <streambuf>
#include <unordered_map>
#include <vector>

#include "core/check.hpp"
#include "model/onnx_limits.hpp"

namespace trtpose::openvino {
namespace {

/// A stream of a model's bytes. What reading throws is kept, as streams only say that something failed.
class ContentBuffer final : public std::streambuf {
public:
    explicit ContentBuffer(OnnxContent& content) : content_(content), size_(static_cast<off_type>(content.size())) {}

    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

protected:
    int_type underflow() override {
        if (failure_ || end_ == size_) return traits_type::eof();
        const off_type count = std::min<off_type>(size_ - end_, static_cast<off_type>(part_.size()));
        try {
            content_.read(static_cast<uint64_t>(end_), part_.data(), static_cast<uint64_t>(count));
        } catch (...) {
            failure_ = std::current_exception();
            return traits_type::eof();
        }
        end_ += count;
        setg(part_.data(), part_.data(), part_.data() + count);
        return traits_type::to_int_type(*gptr());
    }
    pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
        const off_type now = end_ - (egptr() - gptr());
        const off_type to = offset + (from == std::ios_base::beg ? 0 : from == std::ios_base::end ? size_ : now);
        if (to < 0 || to > size_) return pos_type(off_type(-1));
        end_ = to;
        setg(part_.data(), part_.data(), part_.data());
        return to;
    }
    pos_type seekpos(pos_type to, std::ios_base::openmode which) override {
        return seekoff(off_type(to), std::ios_base::beg, which);
    }

private:
    OnnxContent& content_;
    off_type size_, end_ = 0;  ///< where what is in `part_` ends
    std::vector<char> part_ = std::vector<char>(1 << 18);
    std::exception_ptr failure_;
};

ov::frontend::FrontEnd& onnx_frontend() {
    static ov::frontend::FrontEndManager manager;
    static const ov::frontend::FrontEnd::Ptr frontend = manager.load_by_framework("onnx");
    if (!frontend) throw std::runtime_error("this OpenVINO has no reader of ONNX; reinstall it");
    return *frontend;
}

}  // namespace

std::shared_ptr<ov::Model> import(OnnxContent content) {
    ContentBuffer buffer(content);
    std::istream stream(&buffer);
    ov::frontend::InputModel::Ptr parsed;
    try {
        parsed = onnx_frontend().load(static_cast<std::istream*>(&stream));
    } catch (const std::exception&) {
        buffer.rethrow();
        throw;
    }
    buffer.rethrow();
    content.require_unchanged();
    return onnx_frontend().convert(parsed);
}

void check_sizes(const ov::Model& model) {
    for (const auto& op : model.get_ordered_ops()) {
        for (const auto& output : op->outputs()) {
            if (output.get_partial_shape().is_dynamic()) continue;
            int64_t numbers = 1;
            for (const size_t d : output.get_shape()) {
                if (d > 0 && numbers > kMaxTensorNumbers / static_cast<int64_t>(d))
                    throw std::runtime_error(text("tensor ", output.get_node()->get_friendly_name(), " is ",
                                                  shape_text(output.get_shape()), ", more than ", kMaxTensorNumbers,
                                                  " numbers"));
                numbers *= static_cast<int64_t>(d);
            }
        }
    }
}

size_t peak_activations(const ov::Model& model) {
    std::unordered_map<const ov::Node*, size_t> last_use;
    const auto order = model.get_ordered_ops();
    for (size_t i = 0; i < order.size(); ++i) {
        for (const auto& input : order[i]->inputs()) last_use[input.get_source_output().get_node()] = i;
    }
    std::unordered_map<size_t, size_t> freed_after;
    size_t alive = 0, peak = 0;
    for (size_t i = 0; i < order.size(); ++i) {
        const auto& op = order[i];
        if (!ov::is_type<ov::op::v0::Constant>(op) && !ov::is_type<ov::op::v0::Parameter>(op) &&
            !ov::is_type<ov::op::v0::Result>(op)) {
            size_t bytes = 0;
            for (const auto& output : op->outputs()) {
                if (output.get_partial_shape().is_static())
                    bytes += ov::shape_size(output.get_shape()) * output.get_element_type().size();
            }
            alive += bytes;
            peak = std::max(peak, alive);
            if (const auto use = last_use.find(op.get()); use != last_use.end()) freed_after[use->second] += bytes;
        }
        if (const auto freed = freed_after.find(i); freed != freed_after.end()) alive -= freed->second;
    }
    return peak;
}

}  // namespace trtpose::openvino
