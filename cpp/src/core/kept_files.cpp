// SPDX-License-Identifier: Apache-2.0
#include "core/kept_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/check.hpp"

namespace trtpose {
namespace {

constexpr const char* kUnfinished = ".unfinished-";
constexpr std::time_t kMonth = 30 * 24 * 3600;
// Longer than anybody writes, for file systems that have no locks.
constexpr std::time_t kDay = 24 * 3600;

bool begins(const std::string& name, const std::string& with) { return name.compare(0, with.size(), with) == 0; }

/// Whether nobody but this user may change a folder, or read it.
bool only_ours(int folder) {
    struct stat status{};
    if (::fstat(folder, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) return false;
    return (status.st_mode & 07777) == 0700 || ::fchmod(folder, 0700) == 0;
}

/// Whether a file is one that this user alone wrote and that has no other name.
bool own_file(const struct stat& status) {
    return S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && status.st_nlink <= 1 &&
           !(status.st_mode & (S_IWGRP | S_IWOTH));
}

/// As long as it lives, a write of this thread beyond the process's limit for files fails and no more: the signal that
/// goes with it ends a process.
class NoSizeSignal {
public:
    NoSizeSignal() {
        ::sigemptyset(&signal_);
        ::sigaddset(&signal_, SIGXFSZ);
        sigset_t pending;
        ::sigpending(&pending);
        pending_ = ::sigismember(&pending, SIGXFSZ) == 1;
        ::pthread_sigmask(SIG_BLOCK, &signal_, &before_);
    }
    ~NoSizeSignal() {
        const timespec now{};
        if (!pending_) {
            while (::sigtimedwait(&signal_, nullptr, &now) < 0 && errno == EINTR) {
            }
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    NoSizeSignal(const NoSizeSignal&) = delete;
    NoSizeSignal& operator=(const NoSizeSignal&) = delete;

private:
    sigset_t signal_, before_;
    bool pending_;
};

struct Entry {
    std::string name;
    uint64_t bytes;
    std::time_t used;
};

std::vector<Entry> entries_of(int folder) {
    std::vector<Entry> found;
    const int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const list = again < 0 ? nullptr : ::fdopendir(again);
    if (!list && again >= 0) ::close(again);
    if (!list) return found;
    while (const dirent* entry = ::readdir(list)) {
        struct stat status{};
        if (::fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) continue;
        found.push_back({entry->d_name, static_cast<uint64_t>(status.st_blocks) * 512, status.st_mtim.tv_sec});
    }
    ::closedir(list);
    return found;
}

/// Whether the writer of an unfinished file is no more.
bool abandoned(int folder, const Entry& entry, std::time_t now) {
    const Descriptor file(::openat(folder, entry.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return false;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return true;
    return errno != EWOULDBLOCK && now - entry.used > kDay;
}

}  // namespace

Descriptor::~Descriptor() {
    if (number_ >= 0) ::close(number_);
}

std::string cache_folder() {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::string(value ? value : "");
    };
    const auto folder_of = [](const passwd* user) { return std::string(user && user->pw_dir ? user->pw_dir : ""); };
    std::string home = variable("HOME");
    if (home.empty()) home = folder_of(::getpwuid(::getuid()));
    if (std::string own = variable("TRTPOSE_CACHE"); !own.empty()) {
        if (own[0] == '~') {
            const size_t end = std::min(own.find('/'), own.size());
            if (end > 1) home = folder_of(::getpwnam(own.substr(1, end - 1).c_str()));
            if (home.empty()) return "";
            own.replace(0, end, home);
        }
        std::error_code failed;
        const auto absolute = std::filesystem::absolute(own, failed);
        return failed ? "" : absolute.string();
    }
    const std::string base = variable("XDG_CACHE_HOME");
    if (begins(base, "/")) return base + "/trtpose";
    return begins(home, "/") ? home + "/.cache/trtpose" : "";
}

std::optional<KeptFiles> KeptFiles::open(const std::string& name) {
    const std::string base = cache_folder();
    if (base.empty()) return std::nullopt;
    std::error_code failed;
    std::filesystem::create_directories(base, failed);
    const std::string path = base + '/' + name;
    ::mkdir(path.c_str(), 0700);
    Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder || !only_ours(folder.get())) return std::nullopt;
    return KeptFiles(std::move(folder));
}

Descriptor KeptFiles::find(const std::string& name) const {
    Descriptor file(::openat(folder_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status{};
    if (!file || ::fstat(file.get(), &status) != 0 || !own_file(status)) return Descriptor();
    ::futimens(file.get(), nullptr);  // fails on a disk that is only read, which is no matter
    return file;
}

bool KeptFiles::keep(const std::string& name, const std::function<bool(int)>& write) const {
    static std::atomic<unsigned> count{0};
    const std::string unfinished = text(kUnfinished, ::getpid(), '-', ++count, '-', name);
    constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    Descriptor file(::openat(folder_.get(), unfinished.c_str(), kFlags, 0600));
    if (!file) return false;
    ::flock(file.get(), LOCK_EX | LOCK_NB);
    const NoSizeSignal failing_only;
    bool done = false;
    try {
        done = write(file.get()) && ::renameat(folder_.get(), unfinished.c_str(), folder_.get(), name.c_str()) == 0;
    } catch (...) {
        remove(unfinished);
        throw;
    }
    if (!done) remove(unfinished);
    return done;
}

void KeptFiles::remove(const std::string& name) const { ::unlinkat(folder_.get(), name.c_str(), 0); }

uint64_t KeptFiles::free_bytes() const {
    struct statvfs status{};
    if (::fstatvfs(folder_.get(), &status) != 0) return 0;
    return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

void KeptFiles::trim(uint64_t most) const {
    const std::time_t now = std::time(nullptr);
    auto entries = entries_of(folder_.get());
    uint64_t all = 0;
    const auto stale = [&](const Entry& entry) {
        const bool gone =
            begins(entry.name, kUnfinished) ? abandoned(folder_.get(), entry, now) : now - entry.used > kMonth;
        if (gone) {
            remove(entry.name);
        } else {
            all += entry.bytes;
        }
        return gone;
    };
    entries.erase(std::remove_if(entries.begin(), entries.end(), stale), entries.end());
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
    for (const Entry& entry : entries) {
        if (all <= most) break;
        if (begins(entry.name, kUnfinished)) continue;
        remove(entry.name);
        all -= entry.bytes;
    }
}

}  // namespace trtpose
