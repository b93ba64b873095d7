// SPDX-License-Identifier: Apache-2.0
// Ending a long call early.
#pragma once

#include "trtpose/export.hpp"

namespace trtpose {

/// While it lives, calls of this thread that take several runs of the network ask between two of them whether to go on.
/// Not asked before the first run, so that a call of one run never pays for it.
class TRTPOSE_API BetweenRuns {
public:
    /// `question` throws where the call is to end; what it throws is what the call throws. It must not use the engine.
    explicit BetweenRuns(void (*question)()) noexcept;
    ~BetweenRuns();
    BetweenRuns(const BetweenRuns&) = delete;
    BetweenRuns& operator=(const BetweenRuns&) = delete;

    /// Ask, where there is somebody to ask.
    static void ask();

private:
    void (*before_)();
};

}  // namespace trtpose
