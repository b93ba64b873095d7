# SPDX-License-Identifier: Apache-2.0
# Which modules for TensorRT are built: one for each major version whose headers are at hand. Sets
#   TRTPOSE_TENSORRT_MODULES (as 8;10;11, 1 for TensorRT for RTX) and, for each, TRTPOSE_TENSORRT_HEADERS_<major>, TRTPOSE_TENSORRT_VERSION_<major>
set(TRTPOSE_TENSORRT_INCLUDE_DIR "" CACHE STRING
  "Folders with TensorRT's headers, one for each major version to serve (8.6, 10, 11, RTX); empty: the one found")
option(TRTPOSE_TENSORRT_DOWNLOAD_HEADERS
  "Download headers from NVIDIA's repository where only TensorRT's libraries are found" OFF)
set(TRTPOSE_TENSORRT_HEADERS_TAG "" CACHE STRING "Tag to download, as v11.1; empty: the version of the PyPI package")
set(TRTPOSE_TENSORRT_HEADERS_URL "https://github.com/NVIDIA/TensorRT/archive/refs/tags" CACHE STRING
  "Where archives of tags are")
mark_as_advanced(TRTPOSE_TENSORRT_HEADERS_URL)

find_package(TensorRT QUIET)
set(_trtpose_folders ${TRTPOSE_TENSORRT_INCLUDE_DIR})
if(NOT _trtpose_folders AND TensorRT_FOUND)
  set(_trtpose_folders "${TensorRT_INCLUDE_DIR}")
endif()
set(TRTPOSE_TENSORRT_MODULES "")
set(TRTPOSE_TENSORRT_FOUND "")
foreach(_folder IN LISTS _trtpose_folders)
  trtpose_tensorrt_version("${_folder}" _version)
  if(NOT _version OR NOT EXISTS "${_folder}/NvInferRuntime.h")
    message(FATAL_ERROR "TRTPOSE_TENSORRT_INCLUDE_DIR: ${_folder} has no NvInferRuntime.h and NvInferVersion.h")
  endif()
  string(REGEX MATCH "^[0-9]+" _major "${_version}")
  # 1: the headers of TensorRT for RTX itself; without them it is served by the module for 11.
  if(NOT _major MATCHES "^(1|8|10|11)$" OR _version MATCHES "^8\\.[0-5]\\.")
    message(STATUS "trtpose: headers of TensorRT ${_version} in ${_folder} are left alone: it serves 8.6, 10 and 11")
  elseif(NOT _major IN_LIST TRTPOSE_TENSORRT_MODULES)
    list(APPEND TRTPOSE_TENSORRT_MODULES ${_major})
    list(APPEND TRTPOSE_TENSORRT_FOUND ${_version})
    set(TRTPOSE_TENSORRT_HEADERS_${_major} "${_folder}")
    set(TRTPOSE_TENSORRT_VERSION_${_major} "${_version}")
  endif()
endforeach()
if(NOT TRTPOSE_HAVE_CUDA)
  set(TRTPOSE_TENSORRT_MODULES "")  # its headers and ours want CUDA's
endif()
