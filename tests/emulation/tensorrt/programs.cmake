# SPDX-License-Identifier: Apache-2.0
# The TensorRT backend itself, compiled against a double of the API as each version has it, and its tests: the session
# alone, and, where CUDA's kernels can be emulated, the whole engine.
#
# trtpose_tensorrt_test(NAME OBJECTS SOURCE...): a program for every version, and one for TensorRT for RTX. What is the same
# with CUDA and without comes from TRTPOSE_EMULATED_COMMON. The tests are compiled once for each version, for the programs
# of trtpose_tensorrt_python_test too.
function(trtpose_tensorrt_test name objects)
  set(_versions "806 8 8601" "1000 10 100001" "1008 10 100801" "1100 11 110001" "107 11 10701")
  if(TRTPOSE_SANITIZE)
    # The versions differ in a few calls; under the sanitizers the oldest and the newest take minutes enough.
    set(_versions "806 8 8601" "1100 11 110001" "107 11 10701")
  endif()
  foreach(_version ${_versions})
    separate_arguments(_version)
    list(GET _version 0 _api)
    list(GET _version 1 _major)
    list(GET _version 2 _number)
    set(_folder "${CMAKE_CURRENT_BINARY_DIR}/tensorrt_${_api}")
    if(NOT TARGET trtpose_double_${_api})
      add_library(trtpose_double_${_api} MODULE tensorrt/library.cpp)
      target_compile_definitions(trtpose_double_${_api} PRIVATE TRTPOSE_DOUBLE_NUMBER=${_number})
      set_target_properties(trtpose_double_${_api} PROPERTIES
        LIBRARY_OUTPUT_DIRECTORY "${_folder}" PREFIX "" OUTPUT_NAME libnvinfer SUFFIX ".so.${_major}")
      add_library(trtpose_double_rtx_${_api} MODULE tensorrt/library.cpp)
      target_compile_definitions(trtpose_double_rtx_${_api} PRIVATE TRTPOSE_DOUBLE_NUMBER=10701)
      set_target_properties(trtpose_double_rtx_${_api} PROPERTIES
        LIBRARY_OUTPUT_DIRECTORY "${_folder}" PREFIX "" OUTPUT_NAME libtensorrt_rtx SUFFIX ".so.1")
      add_library(trtpose_double_objects_${_api} OBJECT tensorrt/double.cpp tensorrt/double_context.cpp
        "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/native.cpp")
      target_link_libraries(trtpose_double_objects_${_api} PRIVATE trtpose_compile)
      target_precompile_headers(trtpose_double_objects_${_api} REUSE_FROM trtpose_precompiled_core)
      target_compile_definitions(trtpose_double_objects_${_api} PUBLIC TRTPOSE_WITH_CUDA=1
        TRTPOSE_DOUBLE_TENSORRT=${_api} TRTPOSE_DOUBLE_NUMBER=${_number} TRTPOSE_DOUBLE_FOLDER="${_folder}")
      target_include_directories(trtpose_double_objects_${_api} PUBLIC cuda/include tensorrt/include "${CMAKE_CURRENT_SOURCE_DIR}"
        "${PROJECT_SOURCE_DIR}/cpp/include" "${PROJECT_SOURCE_DIR}/cpp/src")
    endif()
    set(_test ${name}_${_api})
    set(_sources ${ARGN})
    set(_alone tensorrt_library_test.cpp)
    list(REMOVE_ITEM _sources ${_alone})
    if(_api EQUAL 107)
      set(_sources tensorrt_rtx_test.cpp)
      set(_alone "")
    endif()
    set(_tests trtpose_tensorrt_tests_${_api})
    add_library(${_tests} OBJECT ${_sources})
    target_link_libraries(${_tests} PRIVATE trtpose_double_objects_${_api} trtpose_test_support)
    target_precompile_headers(${_tests} REUSE_FROM trtpose_precompiled_tests)
    add_executable(${_test} ${_alone} tensorrt/module_sessions.cpp $<TARGET_OBJECTS:${_tests}>
      $<TARGET_OBJECTS:trtpose_double_objects_${_api}> $<TARGET_OBJECTS:${objects}>)
    add_dependencies(${_test} trtpose_double_${_api} trtpose_double_rtx_${_api})
    target_link_libraries(${_test} PRIVATE trtpose_double_objects_${_api} trtpose_test_support ${TRTPOSE_EMULATED_COMMON})
    # The library it opens calls back into the program.
    set_target_properties(${_test} PROPERTIES ENABLE_EXPORTS ON)
    trtpose_register_tests(${_test} 300)
  endforeach()
endfunction()

# trtpose_tensorrt_python_test(NAME OBJECTS SOURCE...): the same tests and more for TensorRT through Python, the double in its
# package's place, and a program of the whole package, NAME_package, where Python can be embedded.
find_package(Python3 QUIET COMPONENTS Interpreter Development.Embed)
set(_trtpose_pybind11 "")
if(Python3_Development.Embed_FOUND)
  execute_process(COMMAND "${Python3_EXECUTABLE}" -c "import pybind11; print(pybind11.get_include())"
    OUTPUT_VARIABLE _trtpose_pybind11 OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
function(trtpose_tensorrt_python_test name objects)
  if(NOT _trtpose_pybind11)
    message(STATUS "trtpose: TensorRT through Python is not tested: it needs Python's library and pybind11 "
      "(of ${Python3_EXECUTABLE})")
    return()
  endif()
  set(_bindings "${PROJECT_SOURCE_DIR}/python/bindings")
  trtpose_precompiled(trtpose_precompiled_python <gtest/gtest.h> <pybind11/embed.h> <pybind11/numpy.h> <pybind11/stl.h>)
  target_link_libraries(trtpose_precompiled_python PRIVATE GTest::gtest)
  target_include_directories(trtpose_precompiled_python SYSTEM PRIVATE "${_trtpose_pybind11}" ${Python3_INCLUDE_DIRS})
  add_library(trtpose_python_objects OBJECT "${_bindings}/python_vendor.cpp")
  file(GLOB _rest CONFIGURE_DEPENDS "${_bindings}/*.cpp")
  list(REMOVE_ITEM _rest "${_bindings}/module.cpp" "${_bindings}/python_vendor.cpp")
  add_library(trtpose_python_package_objects OBJECT ${_rest})
  foreach(_target trtpose_python_objects trtpose_python_package_objects)
    target_link_libraries(${_target} PRIVATE trtpose_compile)
    target_include_directories(${_target} PUBLIC "${PROJECT_SOURCE_DIR}/cpp/include"
      "${PROJECT_SOURCE_DIR}/cpp/src" "${_bindings}")
    target_include_directories(${_target} SYSTEM PUBLIC "${_trtpose_pybind11}" ${Python3_INCLUDE_DIRS})
    target_link_libraries(${_target} PRIVATE GTest::gtest)
    target_compile_options(${_target} PRIVATE -O1)  # takes a quarter less to compile than -O3
    target_precompile_headers(${_target} REUSE_FROM trtpose_precompiled_python)
  endforeach()
  foreach(_program 806 1000 1008 1100 107 package)
    set(_test ${name}_${_program})
    set(_api ${_program})
    set(_sources ${ARGN} $<TARGET_OBJECTS:trtpose_tensorrt_tests_${_api}>)
    if(_api EQUAL 107)
      set(_sources $<TARGET_OBJECTS:trtpose_tensorrt_tests_${_api}>)
    elseif(_program STREQUAL "package")
      set(_api 1100)
      set(_sources tensorrt_package_test.cpp $<TARGET_OBJECTS:trtpose_python_package_objects>)
    endif()
    if(NOT TARGET trtpose_python_double_objects_${_api})
      add_library(trtpose_python_double_objects_${_api} OBJECT tensorrt/python_double.cpp)
      target_link_libraries(trtpose_python_double_objects_${_api} PRIVATE
        trtpose_double_objects_${_api} trtpose_python_objects GTest::gtest)
      target_precompile_headers(trtpose_python_double_objects_${_api} REUSE_FROM trtpose_precompiled_python)
    endif()
    add_executable(${_test} ${_sources} tensorrt/python.cpp
      $<TARGET_OBJECTS:trtpose_python_double_objects_${_api}>
      $<TARGET_OBJECTS:trtpose_python_objects> $<TARGET_OBJECTS:trtpose_double_objects_${_api}>
      $<TARGET_OBJECTS:${objects}> $<TARGET_OBJECTS:trtpose_common_objects>)
    target_link_libraries(${_test} PRIVATE
      trtpose_double_objects_${_api} trtpose_python_objects trtpose_test_support Python3::Python)
    target_compile_definitions(${_test} PRIVATE TRTPOSE_TEST_PACKAGE="${PROJECT_SOURCE_DIR}/python/trtpose")
    if(_program STREQUAL "package")
      target_compile_definitions(${_test} PRIVATE TRTPOSE_TEST_SITE="${Python3_SITELIB}")
    endif()
    if(_program EQUAL 1008)
      # The backend as the module it is, which calls back into the program, to see when Python is asked beside it.
      set(_folder "${CMAKE_CURRENT_BINARY_DIR}/tensorrt_modules")
      add_library(trtpose_double_module MODULE "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/native.cpp")
      target_link_libraries(trtpose_double_module PRIVATE trtpose_compile)
      foreach(_kind COMPILE_DEFINITIONS INCLUDE_DIRECTORIES)
        set_property(TARGET trtpose_double_module APPEND PROPERTY ${_kind}
          $<TARGET_PROPERTY:trtpose_double_objects_1008,INTERFACE_${_kind}>)
      endforeach()
      set_target_properties(trtpose_double_module PROPERTIES
        LIBRARY_OUTPUT_DIRECTORY "${_folder}" PREFIX "" OUTPUT_NAME libtrtpose_tensorrt10)
      add_dependencies(${_test} trtpose_double_module trtpose_double_1008 trtpose_double_1000)
      target_compile_definitions(${_test} PRIVATE TRTPOSE_TEST_MODULES="${_folder}"
        TRTPOSE_TEST_OLDER="${CMAKE_CURRENT_BINARY_DIR}/tensorrt_1000")
      set_target_properties(${_test} PROPERTIES ENABLE_EXPORTS ON)
    endif()
    trtpose_register_tests(${_test} 300 trtpose_precompiled_python)
  endforeach()
endfunction()
