# SPDX-License-Identifier: Apache-2.0
# Finds TensorRT's headers and libraries: TENSORRT_ROOT (variable or environment: a tar installation), the system's
# packages, or the libraries of the PyPI package tensorrt_libs, which come without headers (then
# TRTPOSE_TENSORRT_INCLUDE_DIR names headers of the same version). Sets
#   TensorRT_FOUND, TensorRT_VERSION, TensorRT_INCLUDE_DIR, TensorRT_LIBRARY, TensorRT_PARSER_LIBRARY
find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS "${TRTPOSE_TENSORRT_INCLUDE_DIR}" "${TENSORRT_ROOT}" ENV TENSORRT_ROOT
  PATH_SUFFIXES include targets/x86_64-linux-gnu/include targets/aarch64-linux-gnu/include)

if(TensorRT_INCLUDE_DIR)
  # The spelling changed: NV_TENSORRT_MAJOR up to 10.15, TRT_MAJOR_ENTERPRISE in the releases of the repository after it.
  file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" _trtpose_versions REGEX "#define [A-Z_]+ [0-9]+")
  foreach(_part MAJOR MINOR PATCH)
    set(_value "")
    foreach(_line IN LISTS _trtpose_versions)
      if(_line MATCHES "#define (NV_TENSORRT_${_part}|TRT_${_part}_ENTERPRISE) ([0-9]+)")
        set(_value "${CMAKE_MATCH_2}")
      endif()
    endforeach()
    list(APPEND _trtpose_version "${_value}")
  endforeach()
  list(JOIN _trtpose_version "." TensorRT_VERSION)
  list(GET _trtpose_version 0 _trtpose_major)

  # pip's folder is asked for without importing the package, which would open every library in it.
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
        "import importlib.util as u; s = u.find_spec('tensorrt_libs'); print(s.submodule_search_locations[0] if s else '', end='')"
      OUTPUT_VARIABLE _trtpose_pip ERROR_QUIET)
  endif()
  # Packages for running have only the file of the SONAME, no link without a version.
  foreach(_library nvinfer nvonnxparser)
    find_library(TensorRT_${_library}_LIBRARY
      NAMES ${_library} lib${_library}.so.${_trtpose_major}
      HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT "${_trtpose_pip}"
      PATH_SUFFIXES lib lib64)
  endforeach()
  set(TensorRT_LIBRARY "${TensorRT_nvinfer_LIBRARY}")
  set(TensorRT_PARSER_LIBRARY "${TensorRT_nvonnxparser_LIBRARY}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TensorRT_INCLUDE_DIR TensorRT_LIBRARY VERSION_VAR TensorRT_VERSION)
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_nvinfer_LIBRARY TensorRT_nvonnxparser_LIBRARY)
