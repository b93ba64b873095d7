// SPDX-License-Identifier: Apache-2.0
// What a forked process does.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace trtpose::test {

/// What `body` returns in a process forked from this one; -1 where it throws, less where a signal ends it, as it does
/// one that hangs.
template <typename Body>
int in_child(Body&& body) {
    constexpr unsigned kSeconds = 30;
    constexpr int kThrown = 99;
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(kSeconds);
        int status = kThrown;
        try {
            status = body();
        } catch (...) {
        }
        ::_exit(status);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
    if (!WIFEXITED(status)) return -1 - WTERMSIG(status);
    return WEXITSTATUS(status) == kThrown ? -1 : WEXITSTATUS(status);
}

}  // namespace trtpose::test
