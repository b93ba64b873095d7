// SPDX-License-Identifier: Apache-2.0
// Whether the tests run under AddressSanitizer, where they take several times as long.
#pragma once

namespace trtpose::test {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

}  // namespace trtpose::test
