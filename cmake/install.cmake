# SPDX-License-Identifier: Apache-2.0
# Installation for C++ programs: find_package(trtpose) and pkg-config.
include(CMakePackageConfigHelpers)
install(TARGETS trtpose EXPORT trtposeTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET trtpose_openvino)
  install(TARGETS trtpose_openvino LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(_trtpose_tensorrt_targets)
  install(TARGETS ${_trtpose_tensorrt_targets} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/trtpose" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(_trtpose_config ${CMAKE_INSTALL_LIBDIR}/cmake/trtpose)
install(EXPORT trtposeTargets NAMESPACE trtpose:: DESTINATION ${_trtpose_config})
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/trtposeConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/trtposeConfig.cmake" INSTALL_DESTINATION ${_trtpose_config})
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/trtposeConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/trtposeConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/trtposeConfigVersion.cmake"
  DESTINATION ${_trtpose_config})
# The prefix from where the file lies, so that an installation may be moved, as with find_package.
file(RELATIVE_PATH _trtpose_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file("${PROJECT_SOURCE_DIR}/cmake/trtpose.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/trtpose.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/trtpose.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
