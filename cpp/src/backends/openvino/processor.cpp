// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/processor.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace trtpose::openvino {

#if defined(__x86_64__)
bool adds_products_exactly() {
    constexpr unsigned kAvx512Vnni = 1u << 11, kAvxVnni = 1u << 4;
    unsigned a = 0, b = 0, c = 0, d = 0;
    // The first asks the operating system, too, whether it keeps such wide registers.
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && c & kAvx512Vnni && __builtin_cpu_supports("avx512f")) return true;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & kAvxVnni && __builtin_cpu_supports("avx2");
}
#else
bool adds_products_exactly() { return true; }
#endif

void keep_products_exact(ov::AnyMap& config) {
    // A property of OpenVINO's CPU plugin that its headers do not declare.
    if (!adds_products_exactly()) config.emplace("LP_TRANSFORMS_MODE", "NO");
}

}  // namespace trtpose::openvino
