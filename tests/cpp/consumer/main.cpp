// SPDX-License-Identifier: Apache-2.0
// consumer [MODEL.onnx]: asks an installed trtpose what it is and, given a model, runs it on a grey picture.
#include <cstdio>
#include <trtpose/engine.hpp>
#include <vector>

int main(int argc, char** argv) {
    std::printf("trtpose %s\n", trtpose::version());
    for (const auto& backend : trtpose::backends())
        std::printf("backend %s: %s\n", backend.name.c_str(),
                    backend.available ? backend.version.c_str() : backend.problem.c_str());
    try {
        trtpose::Engine("no such file.onnx");
        return 1;
    } catch (const trtpose::Error& error) {
        if (error.code() != trtpose::ErrorCode::model) return 1;
        std::printf("refused: %s\n", error.what());
    }
    if (argc < 2) return 0;
    try {
        trtpose::EngineOptions options;
        options.threads = 1;
        trtpose::Engine engine(argv[1], options);
        const std::vector<unsigned char> pixels(3 * 320 * 240, 128);
        trtpose::ImageView frame;
        frame.data = pixels.data();
        frame.width = 320;
        frame.height = 240;
        const std::vector<trtpose::ImageView> frames = {frame, frame};
        const auto poses = engine.infer(frames);
        std::printf("%zu frames, %d poses in the first\n", poses.size(), poses[0].count);
        return poses.size() == 2 && poses[0].frame.width == 320 ? 0 : 1;
    } catch (const trtpose::Error& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
