// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "trtpose/session.hpp"

namespace trtpose {

/// The same session, which in a process forked from this one says so instead of waiting for threads that are not there,
/// and leaves the vendor's library alone when it is deleted.
std::unique_ptr<Session> in_own_process(std::unique_ptr<Session> session);

}  // namespace trtpose
