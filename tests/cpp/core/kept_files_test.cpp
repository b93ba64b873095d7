// SPDX-License-Identifier: Apache-2.0
#include "core/kept_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "support/child.hpp"
#include "support/files.hpp"

namespace trtpose::test {
namespace {

namespace fs = std::filesystem;

class KeptFilesTest : public ::testing::Test {
protected:
    void SetUp() override { ::setenv("TRTPOSE_CACHE", (folder_ / "cache").c_str(), 1); }
    void TearDown() override { ::unsetenv("TRTPOSE_CACHE"); }

    fs::path place(const std::string& name = "") const { return fs::path(folder_ / "cache") / "things" / name; }
    static bool keep(const KeptFiles& files, const std::string& name, const std::string& bytes) {
        return files.keep(name, [&](int to) {
            return ::write(to, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
        });
    }
    static std::string content(const KeptFiles& files, const std::string& name) {
        const Descriptor file = files.find(name);
        char bytes[64];
        const ssize_t got = file ? ::read(file.get(), bytes, sizeof bytes) : -1;
        return got < 0 ? "none" : std::string(bytes, static_cast<size_t>(got));
    }
    static mode_t mode(const fs::path& path) {
        struct stat status{};
        return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
    }
    void age(const std::string& name, std::time_t seconds) const {
        const timespec then{std::time(nullptr) - seconds, 0}, times[] = {then, then};
        ASSERT_EQ(::utimensat(AT_FDCWD, place(name).c_str(), times, 0), 0);
    }

    TempFolder folder_;
};

TEST_F(KeptFilesTest, WhatWasKeptIsFoundAndForTheUserAlone) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    EXPECT_EQ(content(*files, "a"), "none");
    EXPECT_TRUE(keep(*files, "a", "first"));
    EXPECT_TRUE(keep(*files, "a", "second"));
    EXPECT_EQ(content(*files, "a"), "second");
    EXPECT_EQ(mode(place()), 0700u);
    EXPECT_EQ(mode(place("a")), 0600u);
    EXPECT_GT(files->free_bytes(), 0u);
    files->remove("a");
    EXPECT_EQ(content(*files, "a"), "none");
}

TEST_F(KeptFilesTest, WhatCouldNotBeWrittenLeavesNothing) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    EXPECT_TRUE(keep(*files, "a", "whole"));
    EXPECT_FALSE(files->keep("a", [](int to) { return ::write(to, "ha", 2) < 0; }));
    EXPECT_THROW(files->keep("a", [](int) -> bool { throw std::runtime_error("no"); }), std::runtime_error);
    EXPECT_EQ(content(*files, "a"), "whole");
    EXPECT_EQ(std::distance(fs::directory_iterator(place()), fs::directory_iterator()), 1);
}

TEST_F(KeptFilesTest, ALimitForFilesEndsNoProcess) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    constexpr rlimit kLimit{16, 16};
    const auto write_more = [](int to) {
        const std::string bytes(kLimit.rlim_cur, 'x');
        return ::write(to, bytes.data(), bytes.size()) > 0 && ::write(to, bytes.data(), bytes.size()) > 0;
    };
    const int status = in_child([&] {
        std::signal(SIGXFSZ, SIG_DFL);  // Python ignores it, and other programs end by it
        if (::setrlimit(RLIMIT_FSIZE, &kLimit) != 0) return 1;
        if (!keep(*files, "small", "x")) return 2;
        return files->keep("large", write_more) ? 3 : 0;
    });
    EXPECT_EQ(status, 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(place()), fs::directory_iterator()), 1);
}

TEST_F(KeptFilesTest, LinksAndFilesOfOthersAreNotRead) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    const std::string outside = folder_.write("outside", "theirs");
    fs::create_symlink(outside, place("link"));
    fs::create_hard_link(outside, place("hard"));
    ASSERT_TRUE(keep(*files, "open", "x"));
    ASSERT_EQ(::chmod(place("open").c_str(), 0622), 0);
    for (const char* name : {"link", "hard", "open"}) EXPECT_EQ(content(*files, name), "none") << name;
    EXPECT_TRUE(keep(*files, "link", "ours"));
    EXPECT_EQ(content(*files, "link"), "ours");
    std::ifstream in(outside);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "theirs");
}

TEST_F(KeptFilesTest, AFolderThatOthersSeeIsClosedAndALinkIsNone) {
    fs::create_directories(place());
    ASSERT_EQ(::chmod(place().c_str(), 0777), 0);
    EXPECT_TRUE(KeptFiles::open("things"));
    EXPECT_EQ(mode(place()), 0700u);
    fs::create_symlink(place(), fs::path(folder_ / "cache") / "link");
    EXPECT_FALSE(KeptFiles::open("link"));
    folder_.write("cache/file", "");
    EXPECT_FALSE(KeptFiles::open("file"));
    ::setenv("TRTPOSE_CACHE", (folder_ / "cache/file").c_str(), 1);
    EXPECT_FALSE(KeptFiles::open("things"));
}

TEST_F(KeptFilesTest, TheOldestGoUntilTheRestFits) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    constexpr std::time_t kDay = 24 * 3600;
    const std::string bytes(1 << 16, 'x');
    for (const char* name : {"old", "older", "oldest", "month", "used"}) ASSERT_TRUE(keep(*files, name, bytes));
    age("old", kDay);
    age("older", 2 * kDay);
    age("oldest", 3 * kDay);
    age("month", 40 * kDay);
    age("used", 20 * kDay);
    EXPECT_NE(content(*files, "used"), "none");  // which makes it the latest
    files->trim(1 << 30);
    EXPECT_FALSE(fs::exists(place("month")));
    EXPECT_TRUE(fs::exists(place("oldest")));
    files->trim(5 * bytes.size() / 2);
    EXPECT_FALSE(fs::exists(place("oldest")));
    EXPECT_FALSE(fs::exists(place("older")));
    EXPECT_TRUE(fs::exists(place("old")));
    EXPECT_TRUE(fs::exists(place("used")));
}

TEST_F(KeptFilesTest, WhatAWriterLeftBehindGoesAndWhatOneIsWritingStays) {
    const auto files = KeptFiles::open("things");
    ASSERT_TRUE(files);
    std::ofstream(place(".unfinished-1-1-a")) << "left behind";
    EXPECT_TRUE(files->keep("a", [&](int to) {
        files->trim(0);
        return ::write(to, "x", 1) == 1;
    }));
    EXPECT_FALSE(fs::exists(place(".unfinished-1-1-a")));
    EXPECT_EQ(content(*files, "a"), "x");
}

TEST_F(KeptFilesTest, TheCacheIsWhereTheUserSays) {
    EXPECT_EQ(cache_folder(), folder_ / "cache");
    const passwd* const user = ::getpwuid(::getuid());
    if (user && user->pw_dir && user->pw_dir[0] == '/') {
        ::setenv("TRTPOSE_CACHE", ("~" + std::string(user->pw_name) + "/here").c_str(), 1);
        EXPECT_EQ(cache_folder(), std::string(user->pw_dir) + "/here");
    }
    ::setenv("TRTPOSE_CACHE", "~nobody has this name/here", 1);
    EXPECT_EQ(cache_folder(), "");
    ::unsetenv("TRTPOSE_CACHE");
    const char* const before = std::getenv("XDG_CACHE_HOME");
    const std::string kept = before ? before : "";
    ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
    EXPECT_EQ(cache_folder(), "/somewhere/trtpose");
    ::setenv("XDG_CACHE_HOME", "not/absolute", 1);
    EXPECT_NE(cache_folder(), "not/absolute/trtpose");
    before ? ::setenv("XDG_CACHE_HOME", kept.c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace trtpose::test
