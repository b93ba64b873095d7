// SPDX-License-Identifier: Apache-2.0
// Threads of control that are switched by hand: thousands of them, a few nanoseconds a switch.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

/// A stack and where its code stopped. The one that was made without a stack stands for the thread that calls.
class Fiber {
public:
    Fiber() = default;
    explicit Fiber(size_t stack_bytes);
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// Begin anew: the next switch to this fiber calls `entry`, which must not return.
    void start(void (*entry)());
    /// Stop here and go on where `next` stopped.
    void switch_to(Fiber& next);
    /// The same for good: what runs on this fiber's stack is over.
    [[noreturn]] void leave_for(Fiber& next);
    /// The stack of a fiber that was stopped in the middle and will not go on is clean memory again.
    void abandon();

    /// First thing that a fiber's entry calls.
    static void arrived();

private:
    void jump(Fiber& next);

    void* stack_ = nullptr;
    size_t bytes_ = 0;
    void* sanitizer_stack_ = nullptr;
#if defined(__x86_64__)
    void* top_ = nullptr;
#else
    ucontext_t context_{};
#endif
};

}  // namespace emulation
