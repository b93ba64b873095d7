// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "model/engine_file.hpp"
#include "model/onnx_content.hpp"

namespace trtpose {

ModelFile read_model_file(const std::string& path) {
    {
        const RegularFile file(path);
        ByteSource source(file);
        // First, since the length at its front may look like anything.
        if (is_engine_file(source.text(0, std::min<uint64_t>(file.size(), 32)))) {
            ModelFile out;
            out.path = path;
            out.stamp = file.stamp();
            read_engine_file(source, out);
            file.require_unchanged();
            return out;
        }
    }
    return OnnxContent(path).take_facts();
}

}  // namespace trtpose
