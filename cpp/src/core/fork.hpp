// SPDX-License-Identifier: Apache-2.0
// What a fork leaves behind: the child has the parent's memory and none of its threads, and a lock that one of those
// held stays locked for ever. What has threads or locks remembers the process it was made in.
#pragma once

#include <memory>

#include "trtpose/export.hpp"

namespace trtpose {

/// Forks between the process that loaded the library and this one. Costs no call of the system.
TRTPOSE_API unsigned fork_generation() noexcept;

/// The process an object was made in.
class Birth {
public:
    bool here() const noexcept { return generation_ == fork_generation(); }

private:
    unsigned generation_ = fork_generation();
};

/// Delete what was made in this process; leave alone what was not, and whatever stands behind it.
template <typename T>
void give_up(const Birth& birth, std::unique_ptr<T>& object) noexcept {
    if (birth.here()) {
        object.reset();
    } else {
        static_cast<void>(object.release());
    }
}

}  // namespace trtpose
