// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/thread_pool.hpp"
#include "trtpose/export.hpp"

namespace trtpose {

using Digest = std::array<unsigned char, 32>;

/// SHA-256 of FIPS 180-4, by the processor's own instructions where it has them.
TRTPOSE_API Digest sha256(std::string_view bytes);

/// The same without such instructions: the specification of the other.
TRTPOSE_API Digest sha256_portable(std::string_view bytes);

/// Lower-case hexadecimal.
TRTPOSE_API std::string hexadecimal(const Digest& digest);

/// Gives bytes [offset, offset + count) of something; `room` has space for them, and what is returned may lie there or
/// elsewhere. Called by one thread.
using ReadPart = std::function<const char*(uint64_t offset, char* room, size_t count)>;

/// A digest of `size` bytes that several threads compute: SHA-256 of the size and of the SHA-256 of every part of
/// kDigestPart bytes, in order. Holds one part per thread.
TRTPOSE_API Digest digest_of(uint64_t size, const ReadPart& read, ThreadPool& pool);

inline constexpr size_t kDigestPart = size_t{1} << 22;

}  // namespace trtpose
