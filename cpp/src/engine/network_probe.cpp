// SPDX-License-Identifier: Apache-2.0
// Asks a session what a file does not say of its network.
#include <algorithm>
#include <optional>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "engine/pipeline.hpp"
#include "trtpose/session.hpp"

namespace trtpose {

namespace {

/// Numbers from 0 to 1, the same ones always.
void fill_with_noise(float* values, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        values[i] = static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
    }
}

class SessionProbe final : public NetworkProbe {
public:
    SessionProbe(const ModelFile& file, Session* session) : file_(file), session_(session) {}

    std::vector<std::vector<int64_t>> shapes(Size size) override {
        std::vector<std::vector<int64_t>> out;
        try {
            const SessionShape& shape = prepare(size);
            for (size_t i = 0; i < file_.outputs.size(); ++i) out.push_back(shape.outputs[place(i)]);
        } catch (const Error& error) {
            if (!session_ || error.code() != ErrorCode::model) throw;
            // One of the sizes depends on the picture: what the library tells of the others.
            out.clear();
            for (size_t i = 0; i < file_.outputs.size(); ++i) out.push_back(session_->info().outputs[place(i)].shape);
        }
        return out;
    }

    std::vector<float> numbers(size_t index, Size size) override {
        const SessionShape shape = prepare(size);
        const Session& session = *session_;
        const SessionInfo& info = session.info();
        require(info.device.type == DeviceType::cpu, ErrorCode::model, "it is on a GPU");
        std::vector<HostBuffer> blocks;
        std::vector<void*> outputs;
        for (size_t i = 0; i < shape.outputs.size(); ++i) {
            require(info.outputs[i].dtype == DType::f32, ErrorCode::model, "its outputs are not float32");
            blocks.emplace_back(engine::product(shape.outputs[i]) * sizeof(float));
            outputs.push_back(blocks.back().data());
        }
        const size_t pixels = static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        const size_t count = static_cast<size_t>(batch()) * 3 * pixels;
        const HostBuffer input(count * sizeof(float));
        fill_with_noise(static_cast<float*>(input.data()), count);
        session_->run(input.data(), outputs, {});
        const auto* values = static_cast<const float*>(outputs[place(index)]);
        return {values, values + engine::product(shape.outputs[place(index)])};
    }

    void give_room(int64_t rows) override { session().give_room(rows); }

private:
    Session& session() {
        if (!session_) {
            require(file_.kind == "onnx", ErrorCode::model, "it is no ONNX file");
            SessionOptions options;
            options.device = "cpu";
            own_ = open_session(file_, options);
            session_ = own_.get();
        }
        return *session_;
    }
    const SessionShape& prepare(Size size) {
        Session& asked = session();
        return asked.prepare(batch(), size);
    }

    /// One, or what the network was made for.
    int batch() const {
        const SessionInfo& info = session_->info();
        const int64_t fixed = info.input.shape.empty() ? -1 : info.input.shape[0];
        return static_cast<int>(fixed > 0 ? fixed : info.profiles.empty() ? 1 : info.profiles[0].min.at(0));
    }

    /// Of the file's output among the session's.
    size_t place(size_t index) const {
        const auto& outputs = session_->info().outputs;
        const auto found = std::find_if(outputs.begin(), outputs.end(),
                                        [&](const TensorInfo& o) { return o.name == file_.outputs[index].name; });
        require(found != outputs.end(), ErrorCode::model, "it has no output '", file_.outputs[index].name, "'");
        return static_cast<size_t>(found - outputs.begin());
    }

    const ModelFile& file_;
    Session* session_;
    std::unique_ptr<Session> own_;
};

}  // namespace

std::unique_ptr<NetworkProbe> make_probe(const ModelFile& file, Session& session) {
    return std::make_unique<SessionProbe>(file, &session);
}

std::unique_ptr<NetworkProbe> make_probe(const ModelFile& file) {
    return std::make_unique<SessionProbe>(file, nullptr);
}

}  // namespace trtpose
