// SPDX-License-Identifier: Apache-2.0
// Files that are written while they are read.
#include "model/regular_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "model/byte_source.hpp"
#include "model/onnx_content.hpp"
#include "support/model_files.hpp"
#include "support/reference.hpp"

namespace trtpose::test {
namespace {

class RegularFileTest : public WithModelFiles {};

TEST_F(RegularFileTest, CutShortIsAnError) {
    const std::string path = folder_.write("net", std::string(100000, 'x'));
    const RegularFile file(path);
    std::vector<char> bytes(file.size());
    file.read(0, bytes.data(), bytes.size());
    file.require_unchanged();
    std::filesystem::resize_file(path, 1000);
    TRTPOSE_EXPECT_ERROR(file.read(0, bytes.data(), bytes.size()), ErrorCode::model,
                         "has changed while it was being read");
    TRTPOSE_EXPECT_ERROR(file.require_unchanged(), ErrorCode::model, "has changed");
    ByteSource source(file);
    TRTPOSE_EXPECT_ERROR(source.at(50000), ErrorCode::model, "has changed");
}

TEST_F(RegularFileTest, WrittenAnewIsAnError) {
    const std::string path = folder_.write("net", "before");
    const RegularFile file(path);
    std::filesystem::last_write_time(
        path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));  // as writing does
    TRTPOSE_EXPECT_ERROR(file.require_unchanged(), ErrorCode::model, "net: the file has changed");
}

TEST_F(RegularFileTest, AnotherFileUnderTheNameIsNotOpened) {
    const std::string text = head_model().text();
    const ModelFile facts = read(text);
    folder_.write("other", text);
    std::filesystem::rename(folder_ / "other", folder_ / "net.onnx");
    TRTPOSE_EXPECT_ERROR(OnnxContent(facts.path, facts.stamp), ErrorCode::model, "has changed");
    EXPECT_EQ(OnnxContent(facts.path).size(), text.size());
}

TEST_F(RegularFileTest, WhatWasCheckedIsWhatComesOut) {
    // Weights far larger than the pages that are looked at, and the same length written over them afterwards.
    OnnxModel model = head_model();
    for (int i = 0; i < 4; ++i)
        model.weights.push_back(onnx_tensor("large" + std::to_string(i), {100, 100, 3}, 2, std::string(30000, 'a')));
    const std::string text = model.text();
    const std::string path = folder_.write("net.onnx", text);
    OnnxContent content(path);
    std::string whole(content.size(), '\0');
    content.read(0, whole.data(), whole.size());
    EXPECT_EQ(whole, text);
    folder_.write("net.onnx", std::string(text.size(), 'b'));
    content.read(0, whole.data(), whole.size());
    for (const char* kept : {"large0", "large3", "images", "trtpose tests", "p4"})
        EXPECT_EQ(whole.find(kept), text.find(kept));
    EXPECT_NE(whole.find(std::string(20000, 'b')), whole.npos);
    TRTPOSE_EXPECT_ERROR(content.require_unchanged(), ErrorCode::model, "has changed");
    std::filesystem::resize_file(path, text.size() / 2);
    TRTPOSE_EXPECT_ERROR(content.read(0, whole.data(), whole.size()), ErrorCode::model, "has changed");
}

TEST_F(RegularFileTest, SpecsAreRegularFilesOfBoundedSize) {
    const std::string pipe = folder_ / "pipe.json", large = folder_.write("large.json", "{");
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    TRTPOSE_EXPECT_ERROR(find(head_model(), pipe), ErrorCode::model,
                         "pipe.json: cannot read the model spec, it is not");
    TRTPOSE_EXPECT_ERROR(find(head_model(), "/dev/zero"), ErrorCode::model, "/dev/zero: cannot read the model spec");
    TRTPOSE_EXPECT_ERROR(find(head_model(), folder_ / "none"), ErrorCode::model, "No such file");
    std::filesystem::resize_file(large, (size_t{16} << 20) + 1);
    TRTPOSE_EXPECT_ERROR(find(head_model(), large), ErrorCode::model, "a model spec at most 16777216");
}

}  // namespace
}  // namespace trtpose::test
