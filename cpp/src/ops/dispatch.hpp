// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/check.hpp"
#include "core/cuda_guard.hpp"
#include "trtpose/context.hpp"

namespace trtpose::ops {

/// Run the twin for the context's device, `cpu()` or `cuda(stream)`; the only place where ops ask which twins the build
/// has. `cuda` is a template, so that a build without CUDA never makes it.
template <typename Cpu, typename Cuda>
void dispatch(const Context& context, [[maybe_unused]] const char* op, Cpu&& cpu, [[maybe_unused]] Cuda&& cuda) {
    if (context.device.type == DeviceType::cpu) return cpu();
#if TRTPOSE_WITH_CUDA
    const CudaDeviceGuard guard(context.device.index);
    cuda(context.stream);
#else
    throw Error(ErrorCode::device,
                text(op, ": no kernel for ", to_string(context.device), " in this build of trtpose"));
#endif
}

/// The workspace must be as large as the op said it needs.
inline void check_workspace(const Workspace& workspace, size_t needed, const char* op) {
    require(workspace.bytes >= needed, ErrorCode::input, op, ": workspace of ", workspace.bytes, " bytes, needs ",
            needed);
}

}  // namespace trtpose::ops
