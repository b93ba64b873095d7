# SPDX-License-Identifier: Apache-2.0
# How a program of tests is known to ctest: as one test, which make runs and which leaves its counts in NAME.counts, and
# as one for each of its tests, for `ctest -R`. One process for each test takes half as long again.
include(GoogleTest)
file(REMOVE_RECURSE "${PROJECT_BINARY_DIR}/test_programs")

# trtpose_register_tests(PROGRAM TIMEOUT [PRECOMPILED]): labels "program" and "single"; the headers are those of
# cmake/precompiled.cmake.
function(trtpose_register_tests program timeout)
  set(_headers trtpose_precompiled_tests ${ARGN})
  list(GET _headers -1 _headers)
  target_precompile_headers(${program} REUSE_FROM ${_headers})
  # As libraries are compiled, which the headers are; CMake takes -fPIE for programs.
  set_target_properties(${program} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${program} PRIVATE -fPIC)
  # A sanitizer takes several times as long, and CI runs them beside other work with what that leaves of the cores.
  if(TRTPOSE_SANITIZE)
    math(EXPR timeout "6 * ${timeout}")
  endif()
  add_test(NAME ${program} COMMAND ${program})
  set_tests_properties(${program} PROPERTIES LABELS program TIMEOUT ${timeout}
    ENVIRONMENT "TRTPOSE_TEST_COUNTS=${CMAKE_CURRENT_BINARY_DIR}/${program}.counts")
  gtest_discover_tests(${program} TEST_PREFIX "${program}/" DISCOVERY_TIMEOUT 120
    PROPERTIES LABELS single TIMEOUT ${timeout})
  # For tools/cpp_tests.sh: the files whose tests the program runs. What takes time in them is the code under test, which
  # is compiled elsewhere; optimising the tests themselves takes longer than it saves.
  get_target_property(_sources ${program} SOURCES)
  set(_options -O1)
  if(TRTPOSE_SANITIZE MATCHES "undefined")
    # Of GCC's instrumentation these checks take half of the time to compile; in the tests themselves nobody looks for them.
    set(_options -fno-sanitize=null,alignment,object-size)
  endif()
  set(_lines "")
  foreach(_objects IN LISTS _sources)
    if(_objects MATCHES "TARGET_OBJECTS:(.*_tests_[0-9]+)>")
      get_target_property(_more ${CMAKE_MATCH_1} SOURCES)
      list(APPEND _sources ${_more})
    endif()
  endforeach()
  foreach(_source IN LISTS _sources)
    if(_source MATCHES "_test\\.cpp$")
      set_source_files_properties("${_source}" PROPERTIES COMPILE_OPTIONS "${_options}")
      get_filename_component(_source "${_source}" ABSOLUTE)
      file(RELATIVE_PATH _source "${PROJECT_SOURCE_DIR}" "${_source}")
      string(APPEND _lines "${_source}\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/test_programs/${program}" CONTENT "${_lines}" @ONLY)
endfunction()
