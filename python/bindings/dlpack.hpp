// SPDX-License-Identifier: Apache-2.0
// The structures of DLPack's interface between array libraries, as far as trtpose uses them: what __dlpack__ capsules
// hold. Layout of versions 0.8 and 1.x, see https://dmlc.github.io/dlpack.
#pragma once

#include <cstdint>

namespace trtpose::python::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2 };

struct Device {
    int32_t type;
    int32_t index;
};

struct Type {
    uint8_t code, bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    Type dtype;
    int64_t* shape;
    int64_t* strides;  ///< in elements; null: dense rows
    uint64_t byte_offset;
};

/// Of capsules "dltensor".
struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

/// Of capsules "dltensor_versioned".
struct Versioned {
    uint32_t major, minor;
    void* context;
    void (*deleter)(Versioned*);
    uint64_t flags;
    Tensor tensor;
};

}  // namespace trtpose::python::dlpack
