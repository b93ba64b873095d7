// SPDX-License-Identifier: Apache-2.0
#include "core/sha256.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace trtpose {
namespace {

constexpr size_t kBlock = 64;
using State = std::array<uint32_t, 8>;

// FIPS 180-4, 4.2.2 and 5.3.3.
constexpr State kStart{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
alignas(16) constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t big_endian(const unsigned char* at) {
    return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | uint32_t{at[3]};
}

uint32_t turn(uint32_t x, int by) { return x >> by | x << (32 - by); }

/// 6.2.2, for each block.
void add_blocks(State& state, const unsigned char* at, size_t blocks) {
    for (; blocks > 0; --blocks, at += kBlock) {
        uint32_t w[64];
        for (int i = 0; i < 16; ++i) w[i] = big_endian(at + 4 * i);
        for (int i = 16; i < 64; ++i) {
            const uint32_t low = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
            const uint32_t high = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        auto [a, b, c, d, e, f, g, h] = state;
        for (int i = 0; i < 64; ++i) {
            const uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
            const uint32_t first = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choice + kRounds[i] + w[i];
            const uint32_t second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + majority;
            h = g;
            g = f;
            f = e;
            e = d + first;
            d = c;
            c = b;
            b = a;
            a = first + second;
        }
        const State next{a, b, c, d, e, f, g, h};
        for (size_t i = 0; i < next.size(); ++i) state[i] += next[i];
    }
}

using AddBlocks = void (*)(State&, const unsigned char*, size_t);

#if defined(__x86_64__)
/// The same by the SHA extensions. Two registers hold the state as {f, e, b, a} and {h, g, d, c}, which is what the
/// instructions take; `w` holds the schedule of the next 16 rounds, 4 words each.
__attribute__((target("sha,sse4.1"))) void add_blocks_by_instructions(State& state, const unsigned char* at,
                                                                      size_t blocks) {
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    auto* const words = reinterpret_cast<__m128i*>(state.data());
    const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xB1);
    const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1B);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
    for (; blocks > 0; --blocks, at += kBlock) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; ++i)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at) + i), order);
#pragma GCC unroll 16
        for (int step = 0; step < 16; ++step) {
            if (step >= 4) {
                const __m128i& last = w[(step + 3) % 4];
                const __m128i between = _mm_alignr_epi8(last, w[(step + 2) % 4], 4);
                __m128i& now = w[step % 4];
                now = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(step + 1) % 4]), between);
                now = _mm_sha256msg2_epu32(now, last);
            }
            const __m128i rounds = _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds) + step);
            const __m128i sum = _mm_add_epi32(w[step % 4], rounds);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

AddBlocks fastest() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kSha = 1u << 29;
    const bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & kSha && __builtin_cpu_supports("sse4.1");
    return has ? &add_blocks_by_instructions : &add_blocks;
}
#else
AddBlocks fastest() { return &add_blocks; }
#endif

Digest hash(std::string_view bytes, AddBlocks add) {
    State state = kStart;
    const auto* const at = reinterpret_cast<const unsigned char*>(bytes.data());
    const size_t whole = bytes.size() / kBlock, rest = bytes.size() % kBlock;
    add(state, at, whole);
    unsigned char last[2 * kBlock] = {};
    std::copy_n(at + whole * kBlock, rest, last);
    last[rest] = 0x80;
    const size_t blocks = rest + 9 > kBlock ? 2 : 1;
    const uint64_t bits = uint64_t{bytes.size()} * 8;
    for (size_t i = 0; i < 8; ++i) last[blocks * kBlock - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
    add(state, last, blocks);
    Digest out;
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<unsigned char>(state[i / 4] >> (24 - 8 * (i % 4)));
    return out;
}

}  // namespace

Digest sha256(std::string_view bytes) {
    static const AddBlocks add = fastest();
    return hash(bytes, add);
}

Digest sha256_portable(std::string_view bytes) { return hash(bytes, &add_blocks); }

std::string hexadecimal(const Digest& digest) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const unsigned char byte : digest) {
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

Digest digest_of(uint64_t size, const ReadPart& read, ThreadPool& pool) {
    const auto threads = static_cast<size_t>(std::max(pool.size(), 1));
    std::vector<std::vector<char>> rooms(std::min<uint64_t>(threads, size / kDigestPart + 1));
    for (auto& room : rooms) room.resize(std::min<uint64_t>(size, kDigestPart));
    std::vector<std::string_view> parts(rooms.size());
    std::vector<Digest> digests(rooms.size());
    std::string all = std::to_string(size) + ':';
    for (uint64_t done = 0; done < size;) {
        int count = 0;
        for (auto& room : rooms) {
            const auto length = static_cast<size_t>(std::min<uint64_t>(size - done, kDigestPart));
            if (length == 0) break;
            parts[static_cast<size_t>(count++)] = {read(done, room.data(), length), length};
            done += length;
        }
        pool.run(count, [&](int i) { digests[static_cast<size_t>(i)] = sha256(parts[static_cast<size_t>(i)]); });
        for (int i = 0; i < count; ++i) {
            const Digest& digest = digests[static_cast<size_t>(i)];
            all.append(reinterpret_cast<const char*>(digest.data()), digest.size());
        }
    }
    return sha256(all);
}

}  // namespace trtpose
