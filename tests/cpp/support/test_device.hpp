// SPDX-License-Identifier: Apache-2.0
// Where an operation is tested: the tests of the operations are written once and run on every device that is linked in.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trtpose/context.hpp"

namespace trtpose::test {

/// Memory and a context on one device. A block is exactly as long as asked for, so that AddressSanitizer sees a step
/// beyond it, and filled with bytes that are no sensible number, so that a result nobody wrote shows.
class TestDevice {
public:
    static constexpr unsigned char kUnwritten = 0xFF;  ///< as float a NaN, as int32 -1

    virtual ~TestDevice() = default;
    virtual Context context() = 0;
    /// `bytes` at a multiple of kAlignment, filled with kUnwritten.
    virtual void* allocate(size_t bytes) = 0;
    virtual void release(void* block) = 0;
    virtual void upload(void* to, const void* from, size_t bytes) = 0;
    virtual void download(void* to, const void* from, size_t bytes) = 0;
    /// Wait for what runs in the context's stream; fails the test on an error of the device.
    virtual void synchronize() = 0;
};

/// A device that this program knows. `open` gives null and says why where the machine has none.
struct DeviceEntry {
    std::string name;  ///< letters, digits and underscores: part of the test's name
    std::function<std::unique_ptr<TestDevice>(std::string* why)> open;
};

inline std::vector<DeviceEntry>& device_entries() {
    static std::vector<DeviceEntry> entries;
    return entries;
}

/// A source file that brings a device holds one static object of this type.
struct RegisterDevice {
    explicit RegisterDevice(DeviceEntry entry) { device_entries().push_back(std::move(entry)); }
};

inline std::vector<std::string> device_names() {
    std::vector<std::string> names;
    for (const auto& entry : device_entries()) names.push_back(entry.name);
    return names;
}

/// `count` values of T on a device.
template <typename T>
class DeviceArray {
public:
    DeviceArray() = default;
    DeviceArray(TestDevice& device, size_t count)
        : device_(&device), count_(count), data_(static_cast<T*>(device.allocate(count * sizeof(T)))) {}
    DeviceArray(TestDevice& device, const std::vector<T>& values) : DeviceArray(device, values.size()) {
        device.upload(data_, values.data(), count_ * sizeof(T));
    }
    ~DeviceArray() {
        if (device_) device_->release(data_);
    }
    DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
    DeviceArray& operator=(DeviceArray&& other) noexcept {
        std::swap(device_, other.device_);
        std::swap(count_, other.count_);
        std::swap(data_, other.data_);
        return *this;
    }

    T* data() const { return data_; }
    size_t size() const { return count_; }
    std::vector<T> get() const {
        std::vector<T> values(count_);
        if (device_) {
            device_->synchronize();
            device_->download(values.data(), data_, count_ * sizeof(T));
        }
        return values;
    }

private:
    TestDevice* device_ = nullptr;
    size_t count_ = 0;
    T* data_ = nullptr;
};

/// A test that runs once per device; skipped, with the reason, where the machine lacks it.
class OnDevice : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        for (const auto& entry : device_entries()) {
            if (entry.name != GetParam()) continue;
            std::string why;
            device_ = entry.open(&why);
            if (!device_) GTEST_SKIP() << why;
        }
    }
    TestDevice& device() { return *device_; }
    Context context() { return device_->context(); }

    template <typename T>
    DeviceArray<T> array(size_t count) {
        return {*device_, count};
    }
    template <typename T>
    DeviceArray<T> array(const std::vector<T>& values) {
        return {*device_, values};
    }

    /// Scratch memory; keeps it until the test ends.
    Workspace workspace(size_t bytes) {
        scratch_.push_back(array<char>(bytes));
        return {scratch_.back().data(), bytes};
    }

private:
    std::unique_ptr<TestDevice> device_;
    std::vector<DeviceArray<char>> scratch_;
};

/// INSTANTIATE_TEST_SUITE_P for every device linked in.
#define TRTPOSE_ON_EVERY_DEVICE(suite)                                                         \
    INSTANTIATE_TEST_SUITE_P(Devices, suite, testing::ValuesIn(trtpose::test::device_names()), \
                             [](const auto& instance) { return instance.param; })

}  // namespace trtpose::test
