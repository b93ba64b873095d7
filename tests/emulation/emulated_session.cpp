// SPDX-License-Identifier: Apache-2.0
// The engine's tests on emulated CUDA.
#include "emulated_session.hpp"

namespace trtpose::test {

std::unique_ptr<Session> make_fake_session(std::shared_ptr<FakeNetwork> network) {
    emulation::set_devices(1);
    return std::make_unique<EmulatedSession>(std::move(network), std::make_shared<CudaBehaviour>());
}

bool fake_sessions_are_on_cuda() { return true; }

}  // namespace trtpose::test
