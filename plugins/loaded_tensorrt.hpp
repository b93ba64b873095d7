// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace trtpose::plugins {

/// A function of the TensorRT library, of the version this was compiled for, that the process has loaded; null if it
/// has none. Loads nothing.
void* loaded_symbol(const char* name);

/// Whether the call in progress came through the shared library that holds this address.
bool called_from_library_of(const void* address);

}  // namespace trtpose::plugins
