// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "trtpose/error.hpp"

namespace trtpose::test {

/// A folder of its own that goes when the test ends.
class TempFolder {
public:
    TempFolder() {
        // Thousands of small files are written and read at once: in memory, where the system has it.
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        std::string name =
            ((memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "trtpose-XXXXXX")
                .string();
        if (!::mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
        path_ = name;
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;

    std::string operator/(const std::string& name) const { return (path_ / name).string(); }
    /// Write a file and return its path.
    std::string write(const std::string& name, std::string_view content) const {
        const std::string path = *this / name;
        std::ofstream out(path, std::ios::binary | std::ios::trunc);
        out.write(content.data(), static_cast<std::streamsize>(content.size()));
        return path;
    }

private:
    std::filesystem::path path_;
};

}  // namespace trtpose::test

/// `statement` throws trtpose::Error with this code and a message that holds `part`.
#define TRTPOSE_EXPECT_ERROR(statement, wanted, part)                                                        \
    try {                                                                                                    \
        statement;                                                                                           \
        ADD_FAILURE() << "no error: " #statement;                                                            \
    } catch (const trtpose::Error& error_) {                                                                 \
        EXPECT_EQ(error_.code(), wanted) << error_.what();                                                   \
        EXPECT_NE(std::string(error_.what()).find(part), std::string::npos) << "message: " << error_.what(); \
    }                                                                                                        \
    static_assert(true)
