# SPDX-License-Identifier: Apache-2.0
# The headers that most sources begin with, read once for the builds of the tests, which compile everything several times:
# a third of what compiling takes goes into them. What is installed is built without, so that a source that lacks an #include
# does not get past. -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON leaves them out, and so do the sanitizers.
set(TRTPOSE_PRECOMPILED_STANDARD
  <algorithm> <array> <atomic> <chrono> <cmath> <condition_variable> <cstddef> <cstdint> <cstdio> <cstdlib> <cstring> <deque>
  <exception> <filesystem> <fstream> <functional> <iterator> <limits> <list> <map> <memory> <mutex> <new> <numeric>
  <optional> <random> <set> <sstream> <stdexcept> <string> <string_view> <thread> <type_traits> <utility> <vector>)

# trtpose_precompiled(NAME HEADER...): to be reused by targets with the same flags. It has no definitions of its own, as GCC
# takes no precompiled header where one of them is missing.
function(trtpose_precompiled name)
  set(_source "${PROJECT_BINARY_DIR}/precompiled/${name}.cpp")
  file(CONFIGURE OUTPUT "${_source}" CONTENT "" @ONLY)
  add_library(${name} OBJECT "${_source}")
  target_link_libraries(${name} PRIVATE trtpose_compile)
  target_precompile_headers(${name} PRIVATE ${TRTPOSE_PRECOMPILED_STANDARD} ${ARGN})
endfunction()

trtpose_precompiled(trtpose_precompiled_core)
foreach(_target trtpose_objects trtpose_common_objects)
  target_precompile_headers(${_target} REUSE_FROM trtpose_precompiled_core)
endforeach()
if(TRTPOSE_HAVE_OPENVINO)
  target_precompile_headers(trtpose_openvino PRIVATE ${TRTPOSE_PRECOMPILED_STANDARD} <openvino/openvino.hpp>)
endif()
find_package(GTest REQUIRED)
trtpose_precompiled(trtpose_precompiled_tests <gtest/gtest.h>)
target_link_libraries(trtpose_precompiled_tests PRIVATE GTest::gtest)
