# SPDX-License-Identifier: Apache-2.0
# The contract of all families, for a program on any device: a folder here takes part with every source in it that is no
# test of its own.
file(GLOB TRTPOSE_FAMILY_CONTRACT CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/*/*.cpp")
list(FILTER TRTPOSE_FAMILY_CONTRACT EXCLUDE REGEX "_test\\.cpp$")
list(APPEND TRTPOSE_FAMILY_CONTRACT
  "${CMAKE_CURRENT_LIST_DIR}/contract_test.cpp" "${CMAKE_CURRENT_LIST_DIR}/families_under_test.cpp")
# The kernels of families that only the tests have.
file(GLOB TRTPOSE_FAMILY_KERNELS CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/*/*.cu")
# One of them in the engine.
set(TRTPOSE_FAMILY_IN_ENGINE "${CMAKE_CURRENT_LIST_DIR}/tiny/engine_test.cpp" "${CMAKE_CURRENT_LIST_DIR}/tiny/tiny.cpp")
