// SPDX-License-Identifier: Apache-2.0
#include "cuda/fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a called function must keep, changes the stack, and takes back what was saved there.
asm(R"(
.text
.globl emulation_switch_stack
.type emulation_switch_stack,@function
emulation_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulation_switch_stack,.-emulation_switch_stack
)");
extern "C" void emulation_switch_stack(void** save, void* load);
#endif

namespace emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer follows stacks; it must be told of each change. The fiber that is left, and the bounds of the stack
// of the thread that all began on.
const void* thread_stack = nullptr;
size_t thread_stack_bytes = 0;
Fiber* came_from_thread = nullptr;
#endif

}  // namespace

Fiber::Fiber(size_t stack_bytes) : bytes_(stack_bytes) {
    stack_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack_ == MAP_FAILED) throw std::bad_alloc();
}

Fiber::~Fiber() {
    if (stack_) munmap(stack_, bytes_);
}

void Fiber::start(void (*entry)()) {
    sanitizer_stack_ = nullptr;
#if defined(__x86_64__)
    auto* top = reinterpret_cast<void**>(static_cast<char*>(stack_) + bytes_);
    *--top = nullptr;  // where `entry` would return to; eight bytes off a multiple of 16, as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    top_ = top;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = bytes_;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#endif
}

void Fiber::jump(Fiber& next) {
#if defined(__x86_64__)
    emulation_switch_stack(&top_, next.top_);
#else
    swapcontext(&context_, &next.context_);
#endif
}

void Fiber::switch_to(Fiber& next) {
#if defined(__SANITIZE_ADDRESS__)
    if (!stack_) came_from_thread = this;
    const void* bottom = next.stack_ ? next.stack_ : thread_stack;
    __sanitizer_start_switch_fiber(&sanitizer_stack_, bottom, next.stack_ ? next.bytes_ : thread_stack_bytes);
    jump(next);
    const void* left = nullptr;
    size_t left_bytes = 0;
    __sanitizer_finish_switch_fiber(sanitizer_stack_, &left, &left_bytes);
    if (came_from_thread && came_from_thread != this) {
        thread_stack = left;
        thread_stack_bytes = left_bytes;
        came_from_thread = nullptr;
    }
#else
    jump(next);
#endif
}

void Fiber::leave_for(Fiber& next) {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = next.stack_ ? next.stack_ : thread_stack;
    __sanitizer_start_switch_fiber(nullptr, bottom, next.stack_ ? next.bytes_ : thread_stack_bytes);
#endif
    jump(next);
    std::abort();
}

void Fiber::arrived() {
#if defined(__SANITIZE_ADDRESS__)
    const void* left = nullptr;
    size_t left_bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &left, &left_bytes);
    if (came_from_thread) {
        thread_stack = left;
        thread_stack_bytes = left_bytes;
        came_from_thread = nullptr;
    }
#endif
}

void Fiber::abandon() {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(stack_, bytes_);
#endif
}

}  // namespace emulation
