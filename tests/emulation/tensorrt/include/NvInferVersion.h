// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorRT's header of this name. TRTPOSE_DOUBLE_TENSORRT says which version the double looks like:
// 806 for 8.6, 1000 for 10.0, 1008 for 10.8, 1100 for 11.0, 107 for TensorRT for RTX 1.7.
#pragma once

#ifndef TRTPOSE_DOUBLE_TENSORRT
#define TRTPOSE_DOUBLE_TENSORRT 1008
#endif

// Its version apart, TensorRT for RTX is an 11 with something added.
#if TRTPOSE_DOUBLE_TENSORRT < 800
#define TRTPOSE_DOUBLE_RTX 1
#define TRTPOSE_DOUBLE_MAJOR 11
#else
#define TRTPOSE_DOUBLE_MAJOR NV_TENSORRT_MAJOR
#endif

#define NV_TENSORRT_MAJOR (TRTPOSE_DOUBLE_TENSORRT / 100)
#define NV_TENSORRT_MINOR (TRTPOSE_DOUBLE_TENSORRT % 100)
#define NV_TENSORRT_PATCH 1
#define NV_TENSORRT_BUILD 0
