# SPDX-License-Identifier: Apache-2.0
# Finds OpenVINO: OpenVINO_DIR if given, else the PyPI wheel of the Python that is on the path, which holds headers,
# libraries and CMake files. Sets TRTPOSE_HAVE_OPENVINO, TRTPOSE_OPENVINO_VERSION and TRTPOSE_OPENVINO_LIBDIR.
set(TRTPOSE_HAVE_OPENVINO OFF)
set(TRTPOSE_OPENVINO_VERSION "none")
if(TRTPOSE_WITH_OPENVINO)
  if(NOT OpenVINO_DIR)
    find_package(Python3 QUIET COMPONENTS Interpreter)
    if(Python3_FOUND)
      execute_process(
        COMMAND "${Python3_EXECUTABLE}" -c "from openvino.utils import get_cmake_path; print(get_cmake_path(), end='')"
        OUTPUT_VARIABLE _trtpose_openvino_cmake ERROR_QUIET)
    endif()
  endif()
  find_package(OpenVINO QUIET COMPONENTS Runtime HINTS "${_trtpose_openvino_cmake}")
  if(OpenVINO_FOUND)
    set(TRTPOSE_HAVE_OPENVINO ON)
    set(TRTPOSE_OPENVINO_VERSION "${OpenVINO_VERSION_MAJOR}.${OpenVINO_VERSION_MINOR}.${OpenVINO_VERSION_PATCH}")
    get_target_property(_trtpose_openvino_library openvino::runtime IMPORTED_LOCATION_RELEASE)
    get_filename_component(TRTPOSE_OPENVINO_LIBDIR "${_trtpose_openvino_library}" DIRECTORY)
  endif()
endif()
