// SPDX-License-Identifier: Apache-2.0
// The TensorRT backend on the double, through its module: where libraries are looked for, and what there is to say
// without one.
#include <map>

#include "tensorrt_session_test.hpp"

extern "C" const trtpose::BackendTable* trtpose_backend();

namespace trtpose::test {
namespace {

class TensorRtLibraryTest : public TensorRtSessionTest {};

TEST_F(TensorRtLibraryTest, TheLibraryIsFoundWhereItMayBe) {
    const std::string path = write();
    const std::string file = std::string(TRTPOSE_DOUBLE_FOLDER) + "/libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
    {
        const Environment by_file("TRTPOSE_TENSORRT_LIB", file);
        EXPECT_NE(open(path), nullptr);
    }
    const TempFolder place;
    const Environment elsewhere("TRTPOSE_TENSORRT_LIB", place / "");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "TensorRT");
    for (const char* folder : {"lib", "tensorrt_libs", "tensorrt"}) {
        std::filesystem::create_directory(place / folder);
        std::filesystem::create_symlink(
            file, place / (std::string(folder) + "/" + std::filesystem::path(file).filename().string()));
        const Environment root("TENSORRT_ROOT", folder == std::string("lib") ? place / "" : "");
        const Environment packages("TRTPOSE_PACKAGE_PATH",
                                   folder == std::string("lib") ? "" : "/nowhere:" + place / "");
        EXPECT_NE(open(path), nullptr) << folder;
        std::filesystem::remove_all(place / folder);
    }
    // Something else of that name is passed over.
    place.write(std::filesystem::path(file).filename().string(), "no library");
    const Environment packages("TRTPOSE_PACKAGE_PATH", TRTPOSE_DOUBLE_FOLDER "/..");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "TensorRT");
}

TEST_F(TensorRtLibraryTest, StatusTellsWhatIsThereWithoutCallingTensorRT) {
    const BackendStatus status = trtpose_backend()->status();
    EXPECT_NE(status.version.find(library_version_text()), std::string::npos);
    EXPECT_TRUE(status.available) << status.problem;
    ASSERT_EQ(status.devices.size(), 2u);
    EXPECT_NE(status.devices[0].find("compute capability 7.5"), std::string::npos);
    emulation::set_devices(0);
    const BackendStatus without = trtpose_backend()->status();
    EXPECT_FALSE(without.available);
    EXPECT_NE(without.version.find(library_version_text()), std::string::npos) << "found all the same";
    EXPECT_NE(without.problem.find("no NVIDIA driver"), std::string::npos);
    emulation::set_devices(2);
    // The registry knows both kinds and that this program has no modules beside it.
    const Environment folder("TRTPOSE_BACKEND_DIR", folder_ / "");
    std::map<std::string, BackendStatus> all;
    for (const auto& one : backends()) all[one.name] = one;
    EXPECT_EQ(all.size(), 3u);
    EXPECT_NE(all["tensorrt"].problem.find("no module for TensorRT"), std::string::npos) << all["tensorrt"].problem;
    EXPECT_FALSE(all["tensorrt"].available);
    EXPECT_EQ(all.count("tensorrt-rtx"), 1u);
    EXPECT_FALSE(all["tensorrt-rtx"].problem.empty());
}

TEST_F(TensorRtLibraryTest, WithoutAModuleTheRegistrySaysSo) {
    const Environment folder("TRTPOSE_BACKEND_DIR", folder_ / "");
    const ModelFile file = read_model_file(write());
    const std::string name = "libtrtpose_tensorrt" + std::to_string(NV_TENSORRT_MAJOR) + ".so";
    TRTPOSE_EXPECT_ERROR(open_session(file, {}), ErrorCode::device, name);
    SessionOptions cpu;
    cpu.device = "cpu";
    TRTPOSE_EXPECT_ERROR(open_session(file, cpu), ErrorCode::device, "runs on the GPU");
}

}  // namespace
}  // namespace trtpose::test
