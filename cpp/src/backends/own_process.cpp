// SPDX-License-Identifier: Apache-2.0
#include "backends/own_process.hpp"

#include <utility>

#include "core/check.hpp"
#include "core/fork.hpp"

namespace trtpose {
namespace {

class OwnProcessSession final : public Session {
public:
    explicit OwnProcessSession(std::unique_ptr<Session> session) : session_(std::move(session)) {}
    ~OwnProcessSession() override { give_up(birth_, session_); }

    const SessionInfo& info() const override { return session_->info(); }
    const SessionShape& prepare(int batch, Size size) override { return here().prepare(batch, size); }
    void use_scratch(void* data, size_t bytes) override { here().use_scratch(data, bytes); }
    size_t limit_weights(size_t bytes) override { return here().limit_weights(bytes); }
    void give_room(int64_t rows) override { here().give_room(rows); }
    void leave_out_low_rows(const ScoredRows& rows) override { here().leave_out_low_rows(rows); }
    void set_least_score(float score) override { here().set_least_score(score); }
    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        here().run(input, outputs, context);
    }
    void start(const void* input, Span<void* const> outputs, const Context& context) override {
        here().start(input, outputs, context);
    }
    void wait() override { here().wait(); }
    std::unique_ptr<Session> clone() const override { return in_own_process(here().clone()); }

private:
    Session& here() const {
        if (!birth_.here())
            throw Error(ErrorCode::device, text("session of ", session_->info().backend,
                                                ": opened before this process was forked, and its threads stayed "
                                                "behind; open a new one in this process"));
        return *session_;
    }

    Birth birth_;
    std::unique_ptr<Session> session_;
};

}  // namespace

std::unique_ptr<Session> in_own_process(std::unique_ptr<Session> session) {
    return session ? std::make_unique<OwnProcessSession>(std::move(session)) : nullptr;
}

}  // namespace trtpose
