// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorRT's header of this name, which is NvInferRuntime.h and what builds engines; the latter is left
// out.
#pragma once

#include "NvInferRuntime.h"
