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

/// The same for work that goes on when the call has returned: a fork waits for it, and so does the end of the program,
/// which would take the library down under it.
void work_begins() noexcept;
void work_ends() noexcept;

/// Whether this process was forked while another thread would not leave OpenVINO: it cannot be called here.
bool left_locked() noexcept;

inline constexpr const char* kLeftLocked =
    "OpenVINO cannot be used in this process: it was forked while another thread was at work there; fork when none is, "
    "or start processes with 'spawn' or 'forkserver'";

/// How long work is waited for that may never end.
struct Patience {
    std::chrono::milliseconds look{100};
    // A process that compiles uses its cores, even where it has to share them.
    std::chrono::milliseconds standstill{10'000};  ///< without `work` of its processors' time
    std::chrono::milliseconds work{50};
    std::chrono::milliseconds longest{120'000};  ///< threads that wait in vain may spin
};

/// Do `work` in a thread of its own, which may outlive the call: it holds what it uses. What it throws passes. Throws
/// Error(device), and left_locked() from then on, where it does not end: should a thread have held a lock all the same.
void run_bounded(std::function<void()> work, const Patience& patience = {});

}  // namespace trtpose::openvino
