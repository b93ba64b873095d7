// SPDX-License-Identifier: Apache-2.0
#include "core/sha256.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace trtpose::test {
namespace {

/// The examples that the National Institute of Standards and Technology gives for FIPS 180-4.
TEST(Sha256Test, GivesWhatTheStandardSays) {
    const std::pair<std::string, const char*> kExamples[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
    for (const auto& [bytes, expected] : kExamples) {
        EXPECT_EQ(hexadecimal(sha256(bytes)), expected) << bytes.size();
        EXPECT_EQ(hexadecimal(sha256_portable(bytes)), expected) << bytes.size();
    }
}

TEST(Sha256Test, TheInstructionsAndTheFormulasAgreeAtEveryLength) {
    std::string bytes;
    for (int length = 0; length < 260; ++length) {
        EXPECT_EQ(sha256(bytes), sha256_portable(bytes)) << length;
        bytes += static_cast<char>(length * 37 + 11);
    }
}

Digest digest_in(const std::string& bytes, int threads) {
    ThreadPool pool(threads);
    return digest_of(
        bytes.size(),
        [&](uint64_t offset, char* room, size_t count) {
            std::copy_n(bytes.data() + offset, count, room);
            return room;
        },
        pool);
}

TEST(DigestTest, IsThatOfItsPartsWhateverTheThreads) {
    std::string bytes(2 * kDigestPart + 5, 'x');
    bytes[kDigestPart] = 'y';
    std::string parts = std::to_string(bytes.size()) + ':';
    for (size_t at = 0; at < bytes.size(); at += kDigestPart) {
        const Digest part = sha256(std::string_view(bytes).substr(at, kDigestPart));
        parts.append(part.begin(), part.end());
    }
    for (const int threads : {1, 2, 5}) EXPECT_EQ(digest_in(bytes, threads), sha256(parts)) << threads;
    const Digest before = digest_in(bytes, 2);
    bytes.back() = 'z';
    EXPECT_NE(digest_in(bytes, 2), before);
    EXPECT_EQ(digest_in("", 2), sha256("0:"));
}

}  // namespace
}  // namespace trtpose::test
