# SPDX-License-Identifier: Apache-2.0
# Finds TensorRT's headers, and its libraries for those who link them: TENSORRT_ROOT (variable or environment: a tar
# installation), the system's packages (on Jetson too), or the libraries of the PyPI packages, which come without
# headers. For these, headers of the same version are downloaded from NVIDIA's repository if
# TRTPOSE_TENSORRT_DOWNLOAD_HEADERS is on. Sets
#   TensorRT_FOUND, TensorRT_VERSION, TensorRT_INCLUDE_DIR, and where they are found TensorRT_LIBRARY,
#   TensorRT_PARSER_LIBRARY, TensorRT_PACKAGE_VERSION (of the PyPI package)

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

# pip's folder and version are asked for without importing the package, which would open every library in it.
set(_trtpose_pip "")
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c [[
import importlib.metadata as m, importlib.util as u
for name in ("tensorrt_libs", "tensorrt"):
    found = u.find_spec(name)
    if found and found.submodule_search_locations:
        of = m.packages_distributions().get(name, [])
        print(found.submodule_search_locations[0], m.version(of[0]) if of else "", sep=";", end="")
        break
]]
    OUTPUT_VARIABLE _trtpose_pip ERROR_QUIET)
endif()
list(LENGTH _trtpose_pip _trtpose_known)
set(_trtpose_pip_folder "")
set(TensorRT_PACKAGE_VERSION "")
if(_trtpose_known EQUAL 2)
  list(GET _trtpose_pip 0 _trtpose_pip_folder)
  list(GET _trtpose_pip 1 TensorRT_PACKAGE_VERSION)
endif()

find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT
  PATH_SUFFIXES include targets/x86_64-linux-gnu/include targets/aarch64-linux-gnu/include)

if(NOT TensorRT_INCLUDE_DIR AND TRTPOSE_TENSORRT_DOWNLOAD_HEADERS)
  # Tags are v10.13.0 or, of late, v11.1; a package without a tag of its own gets what is set.
  set(_trtpose_tags "${TRTPOSE_TENSORRT_HEADERS_TAG}")
  if(NOT _trtpose_tags AND TensorRT_PACKAGE_VERSION MATCHES "^([0-9]+\\.[0-9]+)(\\.[0-9]+)?")
    set(_trtpose_tags "v${CMAKE_MATCH_0}" "v${CMAKE_MATCH_1}")
  endif()
  foreach(_tag IN LISTS _trtpose_tags)
    set(_archive "${CMAKE_BINARY_DIR}/tensorrt-${_tag}.tar.gz")
    set(_folder "${CMAKE_BINARY_DIR}/tensorrt-${_tag}")
    if(NOT EXISTS "${_folder}/include/NvInfer.h")
      file(DOWNLOAD "${TRTPOSE_TENSORRT_HEADERS_URL}/${_tag}.tar.gz" "${_archive}" STATUS _status)
      list(GET _status 0 _failed)
      if(_failed)
        file(REMOVE "${_archive}")
        continue()
      endif()
      file(ARCHIVE_EXTRACT INPUT "${_archive}" DESTINATION "${_folder}.part" PATTERNS "*/include/*")
      file(GLOB _unpacked "${_folder}.part/*/include/NvInfer.h")
      if(_unpacked)
        get_filename_component(_unpacked "${_unpacked}" DIRECTORY)
        file(MAKE_DIRECTORY "${_folder}")
        file(RENAME "${_unpacked}" "${_folder}/include")
      endif()
      file(REMOVE_RECURSE "${_archive}" "${_folder}.part")
    endif()
    if(EXISTS "${_folder}/include/NvInfer.h")
      set(TensorRT_INCLUDE_DIR "${_folder}/include" CACHE PATH "TensorRT headers" FORCE)
      break()
    endif()
  endforeach()
endif()

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
