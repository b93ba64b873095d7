// SPDX-License-Identifier: Apache-2.0
// JSON and Python's literals, as metadata of models has them.
#include "model/literal.hpp"

#include <stdexcept>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    try {
        const std::string json = to_json(parse_literal(fuzz::view_of(data, size)));
        try {
            fuzz::expect(to_json(parse_literal(json)) == json, "what was written as JSON reads as the same");
        } catch (const std::invalid_argument&) {
            fuzz::expect(false, "what was written as JSON can be read");
        }
    } catch (const std::invalid_argument&) {  // which its callers turn into their sentences
    }
    return 0;
}
