// SPDX-License-Identifier: Apache-2.0
// The plugin's library is known to TensorRT once, however it comes into the process. Each test is a process of its own,
// as the library stays loaded.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

/// A library that has been opened by its path, as a program does it.
class Library {
public:
    explicit Library(const char* path) : handle_(dlopen(path, RTLD_LAZY | RTLD_LOCAL)) {
        if (!handle_) fail(dlerror());
    }
    template <typename Signature>
    Signature* function(const char* name) const {
        void* const symbol = dlsym(handle_, name);
        if (!symbol) fail(name);
        return reinterpret_cast<Signature*>(symbol);
    }

private:
    [[noreturn]] static void fail(const char* what) {
        std::fprintf(stderr, "no %s\n", what);
        std::_Exit(100);
    }
    void* handle_;
};

struct TensorRt : Library {
    TensorRt() : Library(TRTPOSE_TEST_REGISTRY) {}
    int known() const { return function<int()>("creators_known")(); }
    bool load() const { return function<bool(const char*)>("load_plugin_library")(TRTPOSE_TEST_PLUGIN); }
};

/// Leave the process; 0 if `ok`.
[[noreturn]] void done(bool ok) { std::_Exit(ok ? 0 : 1); }

TEST(PluginLoading, OpenedByTheProgram) {
    EXPECT_EXIT(
        {
            const TensorRt tensorrt;
            const Library plugin(TRTPOSE_TEST_PLUGIN);
            done(tensorrt.known() == 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(PluginLoading, LoadedByTensorRt) {
    EXPECT_EXIT(
        {
            const TensorRt tensorrt;
            done(tensorrt.load() && tensorrt.known() == 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(PluginLoading, OpenedBeforeTensorRt) {
    EXPECT_EXIT(
        {
            const Library plugin(TRTPOSE_TEST_PLUGIN);
            const TensorRt tensorrt;
            done(tensorrt.known() == 0 && tensorrt.load() && tensorrt.known() == 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(PluginLoading, BothWays) {
    EXPECT_EXIT(
        {
            const TensorRt tensorrt;
            const Library plugin(TRTPOSE_TEST_PLUGIN);
            done(!tensorrt.load() && tensorrt.known() == 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(PluginLoading, SpeaksThroughTheLibrarysLogger) {
    EXPECT_EXIT(
        {
            const TensorRt tensorrt;
            const Library plugin(TRTPOSE_TEST_PLUGIN);
            const bool made = tensorrt.function<bool()>("create_without_fields")();
            const std::string said = tensorrt.function<const char*()>("lines_logged")();
            done(!made && said == "trtpose_decode_nms: no fields were given\n");
        },
        testing::ExitedWithCode(0), "");
}

TEST(PluginLoading, NothingElseCanBeSeen) {
    EXPECT_EXIT(
        {
            const TensorRt tensorrt;
            void* const plugin = dlopen(TRTPOSE_TEST_PLUGIN, RTLD_LAZY);
            done(dlsym(plugin, "getCreators") && !dlsym(plugin, "_ZN7trtpose5ErrorD1Ev"));
        },
        testing::ExitedWithCode(0), "");
}

}  // namespace
