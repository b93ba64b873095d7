// SPDX-License-Identifier: Apache-2.0
// Engines around a network that is a function, on the device of the program.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "support/fake_session.hpp"
#include "support/files.hpp"
#include "support/people.hpp"
#include "support/reference.hpp"
#include "trtpose/engine.hpp"

namespace trtpose::test {

class EngineTest : public testing::Test {
protected:
    Engine make(const EngineOptions& options = {}) { return make(people_spec(), options); }
    Engine make(const ModelSpec& spec, const EngineOptions& options = {}) {
        EngineOptions one_thread = options;
        if (one_thread.threads == 0) one_thread.threads = 1;
        return Engine(make_fake_session(network_), spec, one_thread);
    }
    std::vector<Poses> infer(Engine& engine, const std::vector<Frame>& frames) { return engine.infer(views(frames)); }
    static std::vector<ImageView> views(const std::vector<Frame>& frames) {
        std::vector<ImageView> out;
        for (const auto& frame : frames) out.push_back(frame.view);
        return out;
    }
    static std::vector<Frame> mixed(int count) {
        std::vector<Frame> frames;
        for (int i = 0; i < count; ++i) frames.emplace_back(i * 3 + 1, 40 + 17 * (i % 5), 30 + 23 * (i % 4));
        return frames;
    }

    std::shared_ptr<FakeNetwork> network_ = people_network();
};

}  // namespace trtpose::test
