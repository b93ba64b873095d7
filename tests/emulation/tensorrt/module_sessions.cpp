// SPDX-License-Identifier: Apache-2.0
// Sessions of the module of TensorRT that a program of tests has in it.
#include "tensorrt/support.hpp"

extern "C" const trtpose::BackendTable* trtpose_backend();

namespace trtpose::test {

std::unique_ptr<Session> open_double(const ModelFile& file, const SessionOptions& options) {
    return trtpose_backend()->open_engine(file, options);
}

}  // namespace trtpose::test
