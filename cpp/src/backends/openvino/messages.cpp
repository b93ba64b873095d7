// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/messages.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <sstream>

namespace trtpose::openvino {

std::string reason(const std::exception& error) {
    static constexpr const char* kBoilerplate[] = {"Exception from",
                                                   "Check '",
                                                   "While ",
                                                   "Loading input model",
                                                   "FrontEnd API failed",
                                                   "Model wasn't fully converted"};
    // Whatever else went wrong followed from it.
    constexpr const char* kCause = "No conversion rule found";
    std::istringstream lines(error.what());
    std::string out;
    bool told = false;
    for (std::string line; std::getline(lines, line);) {
        auto begin = line.find_first_not_of(" \t");
        if (begin == line.npos) continue;
        if (line.compare(begin, 3, "-- ") == 0) begin += 3;
        const auto begins = [&](const char* phrase) { return line.compare(begin, std::strlen(phrase), phrase) == 0; };
        if (begins(kCause)) return line.substr(begin, 300);
        const bool telling =
            !told && line.back() != ':' && std::none_of(std::begin(kBoilerplate), std::end(kBoilerplate), begins);
        if (telling || out.empty()) out = line.substr(begin, 300);
        told = told || telling;
    }
    return out;
}

}  // namespace trtpose::openvino
