# SPDX-License-Identifier: Apache-2.0
# The TensorRT backend itself, compiled against a double of the API as each version has it, and its tests: the session
# alone, and, where CUDA's kernels can be emulated, the whole engine.
#
# trtpose_tensorrt_test(NAME OBJECTS SOURCE...): a program for every version, and one for TensorRT for RTX.
function(trtpose_tensorrt_test name objects)
  foreach(_version "806 8 8601" "1000 10 100001" "1008 10 100801" "1100 11 110001" "107 11 10701")
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
        "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/kept_file.cpp"
        "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/messages.cpp"
        "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/plan.cpp"
        "${PROJECT_SOURCE_DIR}/cpp/src/backends/tensorrt/session.cpp")
      target_link_libraries(trtpose_double_objects_${_api} PRIVATE trtpose_compile)
      target_compile_definitions(trtpose_double_objects_${_api} PUBLIC TRTPOSE_WITH_CUDA=1
        TRTPOSE_DOUBLE_TENSORRT=${_api} TRTPOSE_DOUBLE_NUMBER=${_number} TRTPOSE_DOUBLE_FOLDER="${_folder}")
      target_include_directories(trtpose_double_objects_${_api} PUBLIC cuda/include tensorrt/include "${CMAKE_CURRENT_SOURCE_DIR}"
        "${PROJECT_SOURCE_DIR}/cpp/include" "${PROJECT_SOURCE_DIR}/cpp/src")
    endif()
    set(_test ${name}_${_api})
    set(_sources ${ARGN})
    if(_api EQUAL 107)
      set(_sources tensorrt_rtx_test.cpp)
    endif()
    add_executable(${_test} ${_sources} $<TARGET_OBJECTS:trtpose_double_objects_${_api}> $<TARGET_OBJECTS:${objects}>)
    add_dependencies(${_test} trtpose_double_${_api} trtpose_double_rtx_${_api})
    target_link_libraries(${_test} PRIVATE trtpose_double_objects_${_api} trtpose_test_support)
    # The library it opens calls back into the program.
    set_target_properties(${_test} PROPERTIES ENABLE_EXPORTS ON)
    trtpose_register_tests(${_test} 300)
  endforeach()
endfunction()
