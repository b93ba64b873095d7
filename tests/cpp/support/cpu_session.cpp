// SPDX-License-Identifier: Apache-2.0
#include "support/fake_session.hpp"

namespace trtpose::test {

std::unique_ptr<Session> make_fake_session(std::shared_ptr<FakeNetwork> network) {
    return std::make_unique<FakeSession>(std::move(network));
}

bool fake_sessions_are_on_cuda() { return false; }

}  // namespace trtpose::test
