# SPDX-License-Identifier: Apache-2.0
# Finds TensorRT's headers, and its libraries for those who link them: TENSORRT_ROOT (variable or environment: a tar
# installation), the system's packages (on Jetson too), or the libraries of the PyPI packages, which come without
# headers. Sets
#   TensorRT_FOUND, TensorRT_VERSION, TensorRT_INCLUDE_DIR, and where they are found TensorRT_LIBRARY and
#   TensorRT_PARSER_LIBRARY

# trtpose_tensorrt_version(FOLDER OUT): version of the headers in a folder, as 10.13.0; empty if there are none.
function(trtpose_tensorrt_version folder out)
  set(_parts "")
  if(EXISTS "${folder}/NvInferVersion.h")
    # The spelling changed: NV_TENSORRT_MAJOR up to 10.15, then TRT_MAJOR_ENTERPRISE; TensorRT for RTX counts its own.
    file(STRINGS "${folder}/NvInferVersion.h" _lines REGEX "#define [A-Z_]+ [0-9]+")
    foreach(_part MAJOR MINOR PATCH)
      set(_value "")
      foreach(_line IN LISTS _lines)
        if(_line MATCHES "#define (NV_TENSORRT_${_part}|TRT_${_part}_(ENTERPRISE|RTX)) ([0-9]+)")
          set(_value "${CMAKE_MATCH_3}")
        endif()
      endforeach()
      list(APPEND _parts "${_value}")
    endforeach()
  endif()
  list(JOIN _parts "." _version)
  set(${out} "${_version}" PARENT_SCOPE)
endfunction()

# pip's folder is asked for without importing the package, which would open every library in it.
set(_trtpose_pip_folder "")
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c [[
import importlib.util as u
for name in ("tensorrt_libs", "tensorrt"):
    found = u.find_spec(name)
    if found and found.submodule_search_locations:
        print(found.submodule_search_locations[0], end="")
        break
]]
    OUTPUT_VARIABLE _trtpose_pip_folder ERROR_QUIET)
endif()

find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT
  PATH_SUFFIXES include targets/x86_64-linux-gnu/include targets/aarch64-linux-gnu/include)

if(TensorRT_INCLUDE_DIR)
  trtpose_tensorrt_version("${TensorRT_INCLUDE_DIR}" TensorRT_VERSION)
  string(REGEX MATCH "^[0-9]+" _trtpose_major "${TensorRT_VERSION}")
  # Packages for running have only the file of the SONAME, no link without a version.
  foreach(_library nvinfer nvonnxparser)
    find_library(TensorRT_${_library}_LIBRARY
      NAMES ${_library} lib${_library}.so.${_trtpose_major}
      HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT "${_trtpose_pip_folder}"
      PATH_SUFFIXES lib lib64)
  endforeach()
  set(TensorRT_LIBRARY "${TensorRT_nvinfer_LIBRARY}")
  set(TensorRT_PARSER_LIBRARY "${TensorRT_nvonnxparser_LIBRARY}")
endif()

include(FindPackageHandleStandardArgs)
# Nothing of trtpose links the library: it is opened when an engine asks for it.
find_package_handle_standard_args(TensorRT REQUIRED_VARS TensorRT_INCLUDE_DIR VERSION_VAR TensorRT_VERSION)
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_nvinfer_LIBRARY TensorRT_nvonnxparser_LIBRARY)
