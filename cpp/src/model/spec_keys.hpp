// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"
#include "model/spec_reader.hpp"

namespace trtpose {

/// Whether the native side reads the key in every spec.
bool is_shared_key(const std::string& key);

/// Refuse a key that is another family's, or so near to one that would be read that it was meant: both would be passed
/// over without a word, and the network be fed or read otherwise than the file says. Throws Error(model). A key that
/// is like none is somebody's note, or a later version's.
void check_unread_key(const SpecReader& json, const families::Family& family, const std::string& key,
                      const Literal& value);

}  // namespace trtpose
