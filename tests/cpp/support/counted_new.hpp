// SPDX-License-Identifier: Apache-2.0
// Linked into a program, counts every operator new of it.
#pragma once

namespace trtpose::test {

/// Of the calling thread.
int calls_of_new();

}  // namespace trtpose::test
