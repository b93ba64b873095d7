// SPDX-License-Identifier: Apache-2.0
// Weights in files beside an ONNX model: taken in where the model may name the file, refused by name elsewhere.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "support/model_files.hpp"
#include "support/reference.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::test {
namespace {

using Entries = std::vector<std::pair<std::string, std::string>>;

/// Six floats somewhere else.
Proto outside(const Entries& entries, bool said = true) {
    Proto tensor;
    tensor.number(1, 2).number(1, 3).number(2, 1).bytes(8, "w");
    for (const auto& [key, value] : entries) tensor.message(13, Proto().bytes(1, key).bytes(2, value));
    return said ? tensor.number(14, 1) : tensor;
}

/// Where a graph can hold a tensor.
struct Place {
    const char* name;
    std::function<void(OnnxModel&, const Proto& tensor)> put;
};

Proto with_attribute(int field, const Proto& content) {
    return Proto().bytes(4, "Constant").message(5, Proto().bytes(1, "value").message(field, content));
}

const std::vector<Place> kPlaces = {
    {"initializer", [](OnnxModel& m, const Proto& t) { m.weights.push_back(t); }},
    {"sparse values",
     [](OnnxModel& m, const Proto& t) { m.graph_rest.message(15, Proto().message(1, t).number(3, 6)); }},
    {"sparse indices",
     [](OnnxModel& m, const Proto& t) { m.graph_rest.message(15, Proto().message(2, t).number(3, 6)); }},
    {"attribute", [](OnnxModel& m, const Proto& t) { m.nodes.push_back(with_attribute(5, t)); }},
    {"list attribute", [](OnnxModel& m, const Proto& t) { m.nodes.push_back(with_attribute(10, t)); }},
    {"sparse attribute",
     [](OnnxModel& m, const Proto& t) { m.nodes.push_back(with_attribute(22, Proto().message(1, t))); }},
    {"sparse list attribute",
     [](OnnxModel& m, const Proto& t) { m.nodes.push_back(with_attribute(23, Proto().message(1, t))); }},
    {"subgraph", [](OnnxModel& m, const Proto& t) { m.nodes.push_back(with_attribute(6, Proto().message(5, t))); }},
    {"node of a subgraph",
     [](OnnxModel& m, const Proto& t) {
         m.nodes.push_back(with_attribute(11, Proto().message(1, with_attribute(5, t))));
     }},
    {"function", [](OnnxModel& m, const Proto& t) { m.rest.message(25, Proto().message(7, with_attribute(5, t))); }},
    {"default of a function",
     [](OnnxModel& m, const Proto& t) { m.rest.message(25, Proto().message(11, Proto().message(5, t))); }},
    {"training", [](OnnxModel& m, const Proto& t) { m.rest.message(20, Proto().message(1, Proto().message(5, t))); }},
};

class ExternalDataTest : public WithModelFiles {
protected:
    void SetUp() override {
        for (int i = 0; i < 40; ++i) numbers_ += static_cast<char>('a' + i % 26);
        folder_.write("w.bin", numbers_);
    }
    std::string written(const Place& place, const Proto& tensor) {
        OnnxModel model = head_model();
        place.put(model, tensor);
        return folder_.write("net.onnx", model.text());
    }
    std::string written(const Proto& tensor) { return written(kPlaces[0], tensor); }
    static std::string content(const std::string& path) {
        std::string out;
        read_onnx(path, [&](size_t size) {
            out.assign(size, '\0');
            return out.data();
        });
        return out;
    }
    /// Both ways to a model refuse.
    void refuses(const Proto& tensor, const char* part) {
        for (const Place& place : kPlaces) {
            SCOPED_TRACE(place.name);
            const std::string path = written(place, tensor);
            TRTPOSE_EXPECT_ERROR(read_model_file(path), ErrorCode::model, part);
            TRTPOSE_EXPECT_ERROR(content(path), ErrorCode::model, part);
        }
    }
    std::string numbers_;
};

TEST_F(ExternalDataTest, NumbersAreTakenInWhereverATensorStands) {
    const Proto inside =
        Proto().number(1, 2).number(1, 3).number(2, 1).bytes(8, "w").bytes(9, std::string_view(numbers_).substr(4, 24));
    const Proto tensor = outside({{"location", "w.bin"}, {"offset", "4"}, {"length", "24"}, {"checksum", "0"}});
    for (const Place& place : kPlaces) {
        SCOPED_TRACE(place.name);
        const ModelFile facts = read_model_file(written(place, tensor));
        const std::string taken = content(written(place, tensor));
        EXPECT_EQ(taken, content(written(place, inside)));
        const ModelFile same = read(taken, "again.onnx");
        EXPECT_EQ(same.parameters, facts.parameters);
        EXPECT_EQ(same.weight_bytes, facts.weight_bytes);
    }
}

TEST_F(ExternalDataTest, LengthsOfManyBytesAreWrittenAnew) {
    // Weights beyond 2^14 bytes: the lengths around them grow from one byte to three.
    const std::string much(40000, 'x');
    folder_.write("deep.bin", much);
    std::filesystem::create_directory(folder_ / "below");
    folder_.write("below/deep.bin", much);
    for (const char* location : {"deep.bin", "below/deep.bin"}) {
        OnnxModel model = head_model();
        for (int i = 0; i < 3; ++i)
            model.weights.push_back(Proto()
                                        .number(1, 10000)
                                        .number(2, 1)
                                        .bytes(8, "d" + std::to_string(i))
                                        .message(13, Proto().bytes(1, "location").bytes(2, location))
                                        .number(14, 1));
        const std::string taken = content(folder_.write("net.onnx", model.text()));
        EXPECT_GT(taken.size(), 3 * much.size());
        EXPECT_EQ(read(taken, "again.onnx").parameters, 13 + 30000);
        check_onnx(taken.data(), taken.size(), "again");
    }
}

TEST_F(ExternalDataTest, AModelWithoutSuchWeightsIsItsBytes) {
    const std::string text = head_model().text();
    EXPECT_EQ(content(folder_.write("net.onnx", text)), text);
}

TEST_F(ExternalDataTest, PathsThatAreNotPlainAreRefused) {
    const std::string own = std::filesystem::path(folder_ / "").parent_path().filename().string();
    for (const std::string& location : {std::string("../w.bin"), std::string("a/../w.bin"), "../" + own + "/w.bin"})
        refuses(outside({{"location", location}}), "leads out of the model's folder");
    refuses(outside({{"location", folder_ / "w.bin"}}), "absolute");
    refuses(outside({{"location", "./w.bin"}}), "not a plain path");
    refuses(outside({{"location", "below//w.bin"}}), "No such file");
    refuses(outside({{"location", ""}}), "empty");
    refuses(outside({{"location", std::string("w.bin\0x", 7)}}), "zero byte");
    refuses(outside({{"location", std::string(5000, 'w')}}), "longer");
}

TEST_F(ExternalDataTest, OnlyRegularFilesBelowTheFolderAreRead) {
    namespace fs = std::filesystem;
    TempFolder elsewhere;
    elsewhere.write("w.bin", numbers_);
    fs::create_symlink(elsewhere / "w.bin", folder_ / "link.bin");
    fs::create_directory_symlink(elsewhere / "", folder_ / "linked");
    fs::create_directory(folder_ / "folder");
    ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
    refuses(outside({{"location", "link.bin"}}), "through a link");
    refuses(outside({{"location", "linked/w.bin"}}), "through a link");
    refuses(outside({{"location", "folder"}}), "not a regular file");
    refuses(outside({{"location", "pipe"}}), "not a regular file");
    refuses(outside({{"location", "none.bin"}}), "No such file");
}

TEST_F(ExternalDataTest, MissingFilesAreNamedAndSoIsWhatTheModelIsALinkTo) {
    namespace fs = std::filesystem;
    const std::string own = written(outside({{"location", "below/w2.bin"}}));
    const std::string absent = "No such file or directory: " + (folder_ / "below/w2.bin") + "); copy or export";
    TRTPOSE_EXPECT_ERROR(read_model_file(own), ErrorCode::model, absent.c_str());
    TempFolder elsewhere;
    const std::string link = elsewhere / "link.onnx";
    fs::create_symlink(own, link);
    const std::string there = fs::canonical(own).string();
    const std::string gone = "directory: " + (elsewhere / "below/w2.bin") + "); the model is a link to " + there;
    TRTPOSE_EXPECT_ERROR(read_model_file(link), ErrorCode::model, (gone + "; copy the weights to the link").c_str());
    fs::create_directory(folder_ / "below");
    folder_.write("below/w2.bin", numbers_);
    TRTPOSE_EXPECT_ERROR(read_model_file(link), ErrorCode::model,
                         (gone + ", beside which they are: open that file").c_str());
    EXPECT_NO_THROW(read_model_file(there));
}

TEST_F(ExternalDataTest, RangesThatDoNotFitAreRefused) {
    const auto with = [](const char* offset, const char* length) {
        return outside({{"location", "w.bin"}, {"offset", offset}, {"length", length}});
    };
    refuses(with("20", "24"), "has 40 bytes");
    refuses(with("41", "24"), "has 40 bytes");
    refuses(with("18446744073709551615", "24"), "has 40 bytes");
    refuses(with("0", "20"), "its length is 20 bytes where its shape calls for 24");
    for (const char* number : {"-1", "", " 4", "4x", "0x4", "99999999999999999999"}) {
        refuses(with(number, "24"), "no number of bytes");
        refuses(with("0", number), "no number of bytes");
    }
}

TEST_F(ExternalDataTest, EntriesThatDoNotBelongAreRefused) {
    refuses(outside({}), "nothing says which");
    refuses(outside({{"location", "w.bin"}, {"location", "w.bin"}}), "two entries 'location'");
    refuses(outside({{"location", "w.bin"}, {"basepath", "/"}}), "'basepath'");
    refuses(outside({{"location", "w.bin"}}, false), "not that they are there");
    refuses(outside({{"location", "w.bin"}}).bytes(9, std::string(24, '\0')), "in the file and outside");
    Proto text;
    text.number(1, 3)
        .number(2, 8)
        .bytes(8, "w")
        .message(13, Proto().bytes(1, "location").bytes(2, "w.bin"))
        .number(14, 1);
    refuses(text, "its type has no size");
}

TEST_F(ExternalDataTest, AModelInMemoryHasNone) {
    OnnxModel model = head_model();
    const std::string whole = model.text();
    check_onnx(whole.data(), whole.size(), "made here");
    model.weights.push_back(outside({{"location", "w.bin"}}));
    const std::string text = model.text();
    TRTPOSE_EXPECT_ERROR(check_onnx(text.data(), text.size(), "made here"), ErrorCode::model, "made here: weight 'w'");
}

TEST_F(ExternalDataTest, AllWeightsTogetherAreBounded) {
    // The same gigabyte of nothing three times; the file is a hole, so it takes no room.
    folder_.write("w.bin", "x");
    std::filesystem::resize_file(folder_ / "w.bin", uint64_t{1} << 30);
    OnnxModel model = head_model();
    for (int i = 0; i < 3; ++i)
        model.weights.push_back(Proto()
                                    .number(1, 1 << 28)
                                    .number(2, 1)
                                    .bytes(8, "w" + std::to_string(i))
                                    .message(13, Proto().bytes(1, "location").bytes(2, "w.bin"))
                                    .number(14, 1));
    TRTPOSE_EXPECT_ERROR(read(model.text()), ErrorCode::model, "2147483647");
}

}  // namespace
}  // namespace trtpose::test
