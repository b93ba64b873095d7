// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>

namespace trtpose::openvino {

/// Around every call into OpenVINO. A fork waits until no thread is inside, since what such a thread had locked would
/// stay locked in the child; threads that come while a process is being forked wait until it is.
class Use {
public:
    Use() noexcept;
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
};

/// Whether this process was forked while another thread would not leave OpenVINO: it cannot be called here.
bool left_locked() noexcept;

/// Wait until `done`, which waits as long as it is told, says so; false, and left_locked() from then on, where the
/// process stands still meanwhile or it takes minutes: should a thread have held a lock all the same.
bool wait_for(const std::function<bool(std::chrono::milliseconds)>& done);

}  // namespace trtpose::openvino
