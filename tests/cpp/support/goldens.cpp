// SPDX-License-Identifier: Apache-2.0
#include "support/goldens.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

namespace trtpose::test {
namespace {

class Reader {
public:
    explicit Reader(std::vector<char> bytes) : bytes_(std::move(bytes)) {}

    template <typename T>
    T one() {
        T value;
        copy(&value, sizeof(value));
        return value;
    }
    template <typename T>
    std::vector<T> many(size_t count) {
        std::vector<T> values(count);
        copy(values.data(), count * sizeof(T));
        return values;
    }
    std::string string(size_t length) {
        const auto letters = many<char>(length);
        return {letters.begin(), letters.end()};
    }

private:
    void copy(void* to, size_t count) {
        if (count > bytes_.size() - at_) throw std::runtime_error("reference values end early; build them again");
        if (count) std::memcpy(to, bytes_.data() + at_, count);
        at_ += count;
    }

    std::vector<char> bytes_;
    size_t at_ = 0;
};

std::string folder() {
    const char* chosen = std::getenv("TRTPOSE_GOLDENS");
    return chosen && *chosen ? chosen : TRTPOSE_GOLDENS;
}

}  // namespace

const Goldens* find_goldens(const std::string& name, std::string* why) {
    static std::map<std::string, std::unique_ptr<Goldens>> read;
    if (const auto known = read.find(name); known != read.end()) return known->second.get();
    std::ifstream in(folder() + "/" + name + ".bin", std::ios::binary);
    if (!in.good()) {
        *why =
            "no reference values " + name +
            "; they are made at build time, by Python with NumPy and OpenCV, from the folder that TRTPOSE_SHARED names";
        return nullptr;
    }
    Reader reader(std::vector<char>(std::istreambuf_iterator<char>(in), {}));
    if (reader.string(4) != "TPGD") throw std::runtime_error(name + ".bin holds no reference values");
    auto goldens = std::make_unique<Goldens>();
    const auto count = reader.one<int32_t>();
    for (int32_t i = 0; i < count; ++i) {
        const auto length = reader.one<int32_t>();
        GoldenArray& array = (*goldens)[reader.string(static_cast<size_t>(length))];
        const auto type = reader.one<int32_t>();
        const auto rank = reader.one<int32_t>();
        array.shape = reader.many<int64_t>(static_cast<size_t>(rank));
        size_t elements = 1;
        for (const int64_t d : array.shape) elements *= static_cast<size_t>(d);
        if (type == 0) array.floats = reader.many<float>(elements);
        if (type == 1) array.bytes = reader.many<uint8_t>(elements);
        if (type == 2) array.ints = reader.many<int32_t>(elements);
        if (type == 3) array.doubles = reader.many<double>(elements);
        if (type == 4) array.longs = reader.many<int64_t>(elements);
    }
    return (read[name] = std::move(goldens)).get();
}

}  // namespace trtpose::test
