// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks formulas that the CPU kernels and the CUDA kernels share. They are compiled without contraction of a·b + c
/// (see docs/adr), so both give the same bits.
#if defined(__CUDACC__)
#define TRTPOSE_HD __host__ __device__ inline
#else
#define TRTPOSE_HD inline
#endif
