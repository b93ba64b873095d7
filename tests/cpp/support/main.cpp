// SPDX-License-Identifier: Apache-2.0
// Runs the tests of a program and counts them, what did not run by its reason: a run that skips much must not look like
// one that passes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

namespace {

class Counter final : public testing::EmptyTestEventListener {
public:
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (result.skipped()) reason_ = result.message();
    }
    void OnTestEnd(const testing::TestInfo& test) override {
        if (test.result()->Skipped()) ++reasons_[reason_.substr(0, reason_.find('\n'))];
    }
    void OnTestProgramEnd(const testing::UnitTest& program) override {
        std::ostringstream out;
        out << program.successful_test_count() << " passed, " << program.failed_test_count() << " failed, "
            << program.skipped_test_count() << " not run\n";
        for (const auto& [reason, count] : reasons_) out << "not run: " << count << " (" << reason << ")\n";
        std::cout << out.str() << std::flush;
        if (const char* path = std::getenv("TRTPOSE_TEST_COUNTS"); path && *path) std::ofstream(path) << out.str();
    }

private:
    std::string reason_;
    std::map<std::string, int> reasons_;
};

}  // namespace

// Memory that cannot be had is one of the things under test: null as without a sanitizer, not the end of the program.
#if defined(__SANITIZE_ADDRESS__)
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
    return "allocator_may_return_null=1";
}
#elif defined(__SANITIZE_THREAD__)
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
    return "allocator_may_return_null=1";
}
#endif

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    testing::UnitTest::GetInstance()->listeners().Append(new Counter);
    return RUN_ALL_TESTS();
}
