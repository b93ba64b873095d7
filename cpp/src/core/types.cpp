// SPDX-License-Identifier: Apache-2.0
#include "trtpose/types.hpp"

#include "trtpose/error.hpp"
#include "trtpose/version.hpp"

namespace trtpose {

Error::~Error() = default;

const char* version() { return TRTPOSE_VERSION; }

std::string to_string(Device device) {
    return device.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::u8: return 1;
        case DType::f16: return 2;
        case DType::f32:
        case DType::i32: return 4;
        case DType::i64: return 8;
        case DType::other: break;
    }
    return 0;
}

const char* to_string(DType dtype) {
    switch (dtype) {
        case DType::u8: return "uint8";
        case DType::f16: return "float16";
        case DType::f32: return "float32";
        case DType::i32: return "int32";
        case DType::i64: return "int64";
        case DType::other: break;
    }
    return "another type";
}

}  // namespace trtpose
