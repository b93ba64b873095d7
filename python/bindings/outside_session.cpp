// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <utility>

#include "bindings.hpp"
#include "held.hpp"

namespace trtpose::python {
namespace {

using Shape = std::vector<int64_t>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

/// What clones share.
struct Network {
    Network(py::function function, SessionInfo about) : run(std::move(function)), info(std::move(about)) {}
    Held run;
    SessionInfo info;
};

class OutsideSession final : public Session {
public:
    OutsideSession(std::shared_ptr<const Network> network, int64_t rows) : network_(std::move(network)), rows_(rows) {}

    const SessionInfo& info() const override { return network_->info; }

    const SessionShape& prepare(int batch, Size size) override {
        batch_ = batch;
        size_ = size;
        const auto key = std::make_pair(size.height, size.width);
        auto found = parts_.find(key);
        if (found == parts_.end()) found = parts_.emplace(key, ask(batch, size)).first;
        shape_.outputs.clear();
        for (const Shape& part : found->second) {
            Shape& whole = shape_.outputs.emplace_back(1, batch);
            whole.insert(whole.end(), part.begin(), part.end());
        }
        return shape_;
    }

    void give_room(int64_t rows) override { rows_ = rows; }

    void run(const void* input, Span<void* const> outputs, const Context& /*context*/) override {
        const py::gil_scoped_acquire gil;
        const std::vector<Floats> arrays = call(static_cast<const float*>(input), batch_, size_);
        for (size_t o = 0; o < arrays.size(); ++o) fill(arrays[o], o, static_cast<float*>(outputs[o]));
    }

    std::unique_ptr<Session> clone() const override { return std::make_unique<OutsideSession>(network_, rows_); }

private:
    /// Shape of one image's part of each output.
    std::vector<Shape> ask(int batch, Size size) {
        const std::vector<float> zeros(3 * static_cast<size_t>(batch) * static_cast<size_t>(size.height) *
                                       static_cast<size_t>(size.width));
        const py::gil_scoped_acquire gil;
        std::vector<Shape> parts;
        for (const Floats& array : call(zeros.data(), batch, size)) {
            parts.emplace_back(array.shape() + 1, array.shape() + array.ndim());
            if (with_room(parts.size() - 1)) parts.back()[0] = rows_;
        }
        return parts;
    }

    /// Whether the rows of an output depend on the picture.
    bool with_room(size_t output) const {
        const Shape& stated = network_->info.outputs[output].shape;
        return rows_ > 0 && stated.size() >= 2 && stated[1] < 0;
    }

    /// With Python's lock: what the network gives, each an array of `batch` images. Throws Error(model), and what the
    /// function raises.
    std::vector<Floats> call(const float* input, int batch, Size size) const {
        const py::capsule lent(input, [](void*) {});
        const Floats images({py::ssize_t(batch), py::ssize_t(3), py::ssize_t(size.height), py::ssize_t(size.width)},
                            input, lent);
        auto arrays = network_->run(images).cast<std::vector<Floats>>();
        const size_t expected = network_->info.outputs.size();
        if (arrays.size() != expected)
            throw Error(ErrorCode::model, "the network gave " + std::to_string(arrays.size()) + " outputs, expected " +
                                              std::to_string(expected));
        for (size_t o = 0; o < expected; ++o) {
            if (arrays[o].ndim() < 2 || arrays[o].shape(0) != batch)
                throw Error(ErrorCode::model, describe(arrays[o], o) + " for " + std::to_string(batch) +
                                                  " images; export the network with a batch that is its first axis");
        }
        return arrays;
    }

    std::string describe(const Floats& array, size_t output) const {
        return "the network's output " + network_->info.outputs[output].name + " is " +
               shape_text({array.shape(), array.shape() + array.ndim()});
    }

    /// One output where the engine wants it; rows that an image has not are zeros.
    void fill(const Floats& array, size_t output, float* target) const {
        const Shape& wanted = shape_.outputs[output];
        const Shape given(array.shape(), array.shape() + array.ndim());
        if (given == wanted) {
            std::copy_n(array.data(), array.size(), target);
            return;
        }
        Shape filled = given;
        if (filled.size() >= 2) filled[1] = wanted[1];
        if (!with_room(output) || filled != wanted || given[1] > wanted[1])
            throw Error(ErrorCode::model, describe(array, output) + ", expected " + shape_text(wanted));
        const auto images = static_cast<size_t>(given[0]);
        const size_t part = static_cast<size_t>(array.size()) / images;
        size_t room = 1;
        for (size_t d = 1; d < wanted.size(); ++d) room *= static_cast<size_t>(wanted[d]);
        for (size_t n = 0; n < images; ++n) {
            std::copy_n(array.data() + n * part, part, target + n * room);
            std::fill_n(target + n * room + part, room - part, 0.0f);
        }
    }

    std::shared_ptr<const Network> network_;
    int64_t rows_;
    SessionShape shape_;
    int batch_ = 0;
    Size size_;
    std::map<std::pair<int, int>, std::vector<Shape>> parts_;
};

}  // namespace

std::unique_ptr<Session> make_outside_session(py::function run, const SessionInfo& info) {
    return std::make_unique<OutsideSession>(std::make_shared<const Network>(std::move(run), info), 0);
}

}  // namespace trtpose::python
