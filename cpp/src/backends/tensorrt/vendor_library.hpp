// SPDX-License-Identifier: Apache-2.0
// Which TensorRT libraries this machine has, and which one a plan needs. Knows no vendor header: two functions of the
// library are looked up by name, so that one build serves every version, and none.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "trtpose/session.hpp"

namespace trtpose::tensorrt {

enum class Runtime : uint8_t { tensorrt, rtx };

struct Version {
    int major = 0, minor = 0, patch = 0;
    bool operator==(const Version& o) const { return number() == o.number(); }
    bool operator<(const Version& o) const { return number() < o.number(); }
    int64_t number() const { return (int64_t{major} * 1000 + minor) * 1000 + patch; }
};
TRTPOSE_API std::string to_string(const Version& version);
/// What stands for a number that is missing: 0; all three where it is none.
TRTPOSE_API Version parse_version(const std::string& text);

/// A library that has been opened. It stays open: TensorRT leaves threads and caches behind.
struct Library {
    Runtime runtime = Runtime::tensorrt;
    Version version;
    int32_t number = 0;  ///< the version as the library counts it, which it wants to be told again
    std::string path;
    void* (*create_runtime)(void* logger, int32_t version) = nullptr;
};

/// All libraries of a kind that can be opened, in the order in which they are looked for.
TRTPOSE_API std::vector<Library> find_libraries(Runtime runtime);

TRTPOSE_API Runtime runtime_of(const EngineDescription& engine);

/// Whether a library runs an engine file's plan.
bool serves(const Library& library, const EngineDescription& engine);

/// The libraries that were found, what was looked for and how to get it.
struct Found {
    std::vector<Library> libraries;
    std::string wanted;   ///< "TensorRT"
    std::string problem;  ///< why there are no more, where that is known
    std::string remedy;   ///< for the plan's version
};

/// The one for an engine file's plan. Throws Error(device) with the way to get it.
Library choose_library(const ModelFile& file, const Found& found);
/// Of those that find_libraries() finds. Throws Error(device).
Library library_for(const ModelFile& file);
/// How to get a version of a library; empty: any.
TRTPOSE_API std::string remedy(Runtime runtime, const std::string& version);
/// "tensorrt==10.13.0.35", as pip wants it; an empty version is any.
TRTPOSE_API std::string requirement(const std::string& package, const std::string& version);

/// "TensorRT", "TensorRT for RTX".
TRTPOSE_API const char* name_of(Runtime runtime);

/// Where this code lies: trtpose's modules and plugins are beside each other.
std::string module_folder();

/// The command that makes an engine file anew.
std::string rebuild(const ModelFile& file);

/// trtpose's modules: one is compiled for each major version of TensorRT's headers.
inline constexpr std::array<int, 3> kModules = {8, 10, 11};
inline constexpr int kRtxModule = 1;
/// The one that serves a library. `has(module)` tells whether this build has it: TensorRT for RTX is served by the
/// module made with its own headers, version 1, or else by the one for TensorRT 11, whose interfaces it has.
int module_for(Runtime runtime, int major, bool (*has)(int module));
/// Major version of the library that an engine file needs; 0: any.
int major_of(const EngineDescription& engine);

/// State of one kind on this machine. Calls nothing of a library but its version, which works without a driver.
TRTPOSE_API BackendStatus status(Runtime runtime, bool (*has_module)(int module));

}  // namespace trtpose::tensorrt
