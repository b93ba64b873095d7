// SPDX-License-Identifier: Apache-2.0
// The JSON of a model spec.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    fuzz::may_refuse(
        [&] { fuzz::use_spec(ModelSpec::from_json(std::string(fuzz::view_of(data, size)), "spec.json")); });
    return 0;
}
