// SPDX-License-Identifier: Apache-2.0
// An ONNX file, from its protobuf to the spec that is found for it.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    static const fuzz::ScratchFile file("model.onnx");
    fuzz::may_refuse([&] { fuzz::use_model(read_model_file(file.write(data, size))); });
    return 0;
}
