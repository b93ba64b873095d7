// SPDX-License-Identifier: Apache-2.0
// The CPU twice: the calling thread alone, and with a pool.
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/thread_pool.hpp"
#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

class CpuDevice final : public TestDevice {
public:
    explicit CpuDevice(int threads) {
        if (threads > 1) pool_ = std::make_unique<ThreadPool>(threads);
    }
    Context context() override { return {{}, nullptr, pool_.get()}; }
    void* allocate(size_t bytes) override {
        void* block = nullptr;
        // Not aligned_alloc, which would round the size up and hide a step beyond the end.
        if (::posix_memalign(&block, kAlignment, bytes ? bytes : 1) != 0) throw std::bad_alloc();
        if (bytes) std::memset(block, kUnwritten, bytes);
        return block;
    }
    void release(void* block) override { std::free(block); }
    void upload(void* to, const void* from, size_t bytes) override {
        if (bytes) std::memcpy(to, from, bytes);
    }
    void download(void* to, const void* from, size_t bytes) override {
        if (bytes) std::memcpy(to, from, bytes);
    }
    void synchronize() override {}

private:
    std::unique_ptr<ThreadPool> pool_;
};

const RegisterDevice kOneThread({"cpu", [](std::string*) { return std::make_unique<CpuDevice>(1); }});
const RegisterDevice kThreads({"cpu_threads", [](std::string*) { return std::make_unique<CpuDevice>(3); }});

}  // namespace
}  // namespace trtpose::test
