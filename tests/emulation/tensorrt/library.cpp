// SPDX-License-Identifier: Apache-2.0
// The double as a library to be opened at run time, TRTPOSE_DOUBLE_NUMBER being its version; what it does is in the
// program that opens it.
#include <cstdint>

extern "C" void* tensorrt_double_create_runtime(void* logger, int32_t told, int32_t own) noexcept;

extern "C" __attribute__((visibility("default"))) int32_t getInferLibVersion() noexcept {
    return TRTPOSE_DOUBLE_NUMBER;
}
extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void* logger,
                                                                                    int32_t version) noexcept {
    return tensorrt_double_create_runtime(logger, version, TRTPOSE_DOUBLE_NUMBER);
}
