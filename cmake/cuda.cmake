# SPDX-License-Identifier: Apache-2.0
# Finds nvcc and sets TRTPOSE_HAVE_CUDA, TRTPOSE_CUDA_VERSION and TRTPOSE_CUDA_ARCHITECTURES. The runtime is linked
# statically: it looks for the driver when first called, so that what is built here loads on machines without one.
set(TRTPOSE_HAVE_CUDA OFF)
set(TRTPOSE_CUDA_VERSION "none")
# Code for 7.5 runs on Turing, 8.0 on 8.x, 9.0 on Hopper, and so on; the PTX of 9.0 and of the newest is for the rest.
set(TRTPOSE_CUDA_ARCHITECTURES "" CACHE STRING "Architectures of the CUDA kernels; empty: 7.5 to the newest, and PTX")
if(TRTPOSE_WITH_CUDA STREQUAL "AUTO" AND TRTPOSE_SANITIZE)
  return()  # the sanitizers know nothing of GPUs; tests/emulation checks the kernels under them
endif()
if(TRTPOSE_WITH_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # Each target says what it is built for.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES OFF)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(TRTPOSE_HAVE_CUDA ON)
    set(TRTPOSE_CUDA_VERSION "${CMAKE_CUDA_COMPILER_VERSION}")
    if(NOT TRTPOSE_CUDA_ARCHITECTURES)
      if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        set(TRTPOSE_CUDA_ARCHITECTURES 75-real 80-real 90 100-real 120)
      else()
        set(TRTPOSE_CUDA_ARCHITECTURES 75-real 80-real 90)
      endif()
    endif()
  elseif(NOT TRTPOSE_WITH_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "TRTPOSE_WITH_CUDA is ${TRTPOSE_WITH_CUDA} and no CUDA compiler was found: "
      "put nvcc on the path, or set CMAKE_CUDA_COMPILER")
  endif()
endif()
