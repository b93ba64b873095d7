// SPDX-License-Identifier: Apache-2.0
// Work of the native part without Python's lock, also in threads that are still at it when Python ends.
#pragma once

#include <pybind11/pybind11.h>

namespace trtpose::python {

/// Lets go of Python's lock and takes it again at the end. A thread that comes back when Python has ended stays where
/// it is until the process is gone: before 3.14 Python would end it by unwinding its stack, which destructors do not
/// allow, and abort the process. The process waits for those that are still at work, so that no library is taken down
/// under one.
class ReleasedGil {
public:
    ReleasedGil();
    ~ReleasedGil();
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;

private:
    PyThreadState* state_ = nullptr;  ///< null: Python is ending in this very thread, which keeps the lock
};

/// Between two runs of a network, without Python's lock: raises what a signal brought, as KeyboardInterrupt, where this
/// is the main thread, and goes no further where Python has ended.
void look_around();

/// Deletes without Python's lock.
struct DeleteWithoutGil {
    template <typename T>
    void operator()(T* object) const {
        const ReleasedGil released;
        delete object;
    }
};

/// To be called when the module is made.
void watch_the_end();

}  // namespace trtpose::python
