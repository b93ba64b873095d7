// SPDX-License-Identifier: Apache-2.0
#include "backends/own_process.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/child.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

/// Counts what it is asked.
class CountingSession final : public Session {
public:
    explicit CountingSession(int& calls) : calls_(calls) { info_.backend = "counting"; }
    ~CountingSession() override { ++calls_; }
    const SessionInfo& info() const override { return info_; }
    const SessionShape& prepare(int, Size) override { return ++calls_, shape_; }
    void use_scratch(void*, size_t) override { ++calls_; }
    size_t limit_weights(size_t bytes) override { return ++calls_, bytes; }
    void give_room(int64_t) override { ++calls_; }
    void leave_out_low_rows(const ScoredRows&) override { ++calls_; }
    void set_least_score(float) override { ++calls_; }
    void run(const void*, Span<void* const>, const Context&) override { ++calls_; }
    std::unique_ptr<Session> clone() const override { return ++calls_, std::make_unique<CountingSession>(calls_); }

private:
    int& calls_;
    SessionInfo info_;
    SessionShape shape_;
};

TEST(OwnProcess, TheSessionIsAskedInTheProcessThatOpenedIt) {
    int calls = 0;
    auto session = in_own_process(std::make_unique<CountingSession>(calls));
    session->prepare(1, {8, 8});
    session->use_scratch(nullptr, 0);
    EXPECT_EQ(session->limit_weights(5), 5u);
    session->give_room(5);
    session->leave_out_low_rows({});
    session->set_least_score(0.5f);
    session->run(nullptr, {}, {});
    const auto clone = session->clone();
    EXPECT_EQ(clone->info().backend, "counting");
    session.reset();
    EXPECT_EQ(calls, 9);
    EXPECT_EQ(in_own_process(nullptr), nullptr);
}

TEST(OwnProcess, AForkedProcessIsToldAndLeavesItAlone) {
    int calls = 0;
    auto session = in_own_process(std::make_unique<CountingSession>(calls));
    auto clone = session->clone();
    calls = 0;
    const int told = in_child([&] {
        int count = 0;
        const auto tell = [&](auto&& work) {
            try {
                work();
            } catch (const Error& error) {
                const std::string text = error.what();
                count += error.code() == ErrorCode::device && text.find("counting") != text.npos &&
                         text.find("open a new one in this process") != text.npos;
            }
        };
        for (Session* one : {session.get(), clone.get()}) {
            tell([&] { one->prepare(1, {8, 8}); });
            tell([&] { one->use_scratch(nullptr, 0); });
            tell([&] { one->limit_weights(0); });
            tell([&] { one->give_room(5); });
            tell([&] { one->leave_out_low_rows({}); });
            tell([&] { one->set_least_score(0.5f); });
            tell([&] { one->run(nullptr, {}, {}); });
            tell([&] { one->clone(); });
        }
        session.reset();
        clone.reset();
        return calls == 0 ? count : 50;
    });
    EXPECT_EQ(told, 16);
    session.reset();
    EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace trtpose::test
