# SPDX-License-Identifier: Apache-2.0
# The agreement for CUDA's runtime, which is linked statically, goes into the wheel beside the other licences. Where it lies
# depends on how the toolkit came: NVIDIA's installer, Debian packages, or packages of PyPI.
if(NOT SKBUILD OR NOT TRTPOSE_HAVE_CUDA)
  return()
endif()
file(REAL_PATH "${CUDAToolkit_BIN_DIR}/.." _trtpose_toolkit)
file(GLOB _trtpose_agreements LIST_DIRECTORIES FALSE
  "${_trtpose_toolkit}/EULA.txt"
  "${_trtpose_toolkit}/dist-info/nvidia_cuda_runtime-*/licenses/License.txt"
  "${_trtpose_toolkit}/../../nvidia_cuda_runtime-*/licenses/License.txt"
  "/usr/share/doc/cuda-cudart-dev-${CUDAToolkit_VERSION_MAJOR}-${CUDAToolkit_VERSION_MINOR}/copyright")
if(_trtpose_agreements)
  list(GET _trtpose_agreements 0 _trtpose_agreement)
  install(FILES "${_trtpose_agreement}" DESTINATION "${SKBUILD_METADATA_DIR}/licenses/docs/licences" RENAME nvidia-cuda.txt
    COMPONENT python)
endif()
