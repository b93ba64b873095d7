// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks what the shared library lets programs use; everything else stays hidden.
#define TRTPOSE_API __attribute__((visibility("default")))
