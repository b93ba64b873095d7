# SPDX-License-Identifier: Apache-2.0
# What every target of trtpose is compiled with.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(trtpose_compile INTERFACE)
target_compile_features(trtpose_compile INTERFACE cxx_std_17)
# -ffp-contract=off: CPU and CUDA kernels share their formulas and must give the same bits (docs/adr/0002-contraction.md).
target_compile_options(trtpose_compile INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion;-Wno-sign-conversion;-fvisibility=hidden>"
  "$<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;$<$<CONFIG:Release>:-O3>;$<$<BOOL:${TRTPOSE_WERROR}>:-Werror>>"
  "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Xcompiler=-Wall,-Wextra,-fvisibility=hidden,-ffp-contract=off>"
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${TRTPOSE_WERROR}>>:-Werror=all-warnings>")

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(TRTPOSE_SANITIZE)
  # For the whole tree, bindings included: a sanitizer in half of a program reports nonsense.
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${TRTPOSE_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${TRTPOSE_SANITIZE})
  # With precompiled headers and them GCC 12 breaks down on some sources at -O2.
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()
