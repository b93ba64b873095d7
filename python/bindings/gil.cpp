// SPDX-License-Identifier: Apache-2.0
#include "gil.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

namespace trtpose::python {

namespace py = pybind11;

namespace {

using namespace std::chrono_literals;

// A run of a large network takes seconds, and opening one longer.
constexpr auto kLongestWait = 30s;

std::atomic<int> at_work{0};     ///< threads without Python's lock
std::atomic<bool> ended{false};  ///< Python has
std::atomic<unsigned long> main_thread{0};

bool ending() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

[[noreturn]] void stay() {
    for (;;) ::pause();
}

bool in_main_thread() { return PyThread_get_thread_ident() == main_thread; }

std::terminate_handler terminate_before = nullptr;

/// Threads in libraries that let go of Python's lock in their own way, as OpenCV does, are unwound all the same.
void terminate() {
    if ((ended || ending()) && !in_main_thread()) stay();
    if (terminate_before) terminate_before();
    std::abort();
}

/// Python's last act: nothing of it can run any more.
void wait_for_others() {
    ended = true;
    const auto latest = std::chrono::steady_clock::now() + kLongestWait;
    while (at_work > 0 && std::chrono::steady_clock::now() < latest) std::this_thread::sleep_for(1ms);
}

}  // namespace

ReleasedGil::ReleasedGil() {
    if (ending()) return;
    ++at_work;
    state_ = PyEval_SaveThread();
}

ReleasedGil::~ReleasedGil() {
    if (!state_) return;
    --at_work;
    if (ended || ending()) stay();
    try {
        PyEval_RestoreThread(state_);
    } catch (...) {  // Python ended meanwhile, and is unwinding this thread
        stay();
    }
}

void look_around() {
    if (ended) {
        --at_work;
        stay();
    }
    if (!in_main_thread()) return;
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void watch_the_end() {
    main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
    if (Py_AtExit(&wait_for_others) != 0) throw py::import_error("trtpose: Python takes no more functions for its end");
    terminate_before = std::set_terminate(&terminate);
    ::pthread_atfork(nullptr, nullptr, [] {
        at_work = 0;
        main_thread = PyThread_get_thread_ident();
    });
}

}  // namespace trtpose::python
