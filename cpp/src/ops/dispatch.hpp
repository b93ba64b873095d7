// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/check.hpp"
#include "trtpose/context.hpp"

namespace trtpose::ops {

/// Run the twin for the context's device; the only place where ops ask which twins the build has.
template <typename Cpu>
void dispatch(const Context& context, const char* op, Cpu&& cpu) {
    if (context.device.type == DeviceType::cpu) return cpu();
    throw Error(ErrorCode::device,
                text(op, ": no kernel for ", to_string(context.device), " in this build of trtpose"));
}

/// The workspace must be as large as the op said it needs.
inline void check_workspace(const Workspace& workspace, size_t needed, const char* op) {
    require(workspace.bytes >= needed, ErrorCode::input, op, ": workspace of ", workspace.bytes, " bytes, needs ",
            needed);
}

}  // namespace trtpose::ops
