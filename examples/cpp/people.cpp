// SPDX-License-Identifier: Apache-2.0
// people MODEL PICTURE.ppm: print the people in a picture. PPM, since it can be read in ten lines; use the picture of
// whatever library your program has.
#include <cstdio>
#include <fstream>
#include <string>
#include <trtpose/engine.hpp>
#include <vector>

namespace {

std::vector<uint8_t> read_ppm(const char* path, int& width, int& height) {
    std::ifstream in(path, std::ios::binary);
    std::string magic;
    int maximum = 0;
    in >> magic >> width >> height >> maximum;
    in.get();
    if (!in || magic != "P6" || maximum != 255 || width < 1 || height < 1 || width > 1 << 16 || height > 1 << 16) {
        throw trtpose::Error(trtpose::ErrorCode::input, std::string(path) + ": not a binary PPM picture of 8 bits");
    }
    std::vector<uint8_t> pixels(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
    in.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
    if (!in) throw trtpose::Error(trtpose::ErrorCode::input, std::string(path) + ": the picture ends too early");
    return pixels;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: people MODEL PICTURE.ppm\n");
        return 2;
    }
    try {
        trtpose::ImageView view;
        const std::vector<uint8_t> pixels = read_ppm(argv[2], view.width, view.height);
        view.data = pixels.data();
        view.format = trtpose::PixelFormat::rgb;

        trtpose::Engine engine(argv[1]);
        std::printf("%s on %s, %s\n", engine.session().backend.c_str(), to_string(engine.session().device).c_str(),
                    engine.session().precision.c_str());
        const trtpose::Poses people = engine.infer({&view, 1})[0];
        for (int i = 0; i < people.count; ++i) {
            const float* box = &people.boxes[static_cast<size_t>(i) * 4];
            std::printf("person %d: score %.2f, box %.0f %.0f %.0f %.0f\n", i, people.scores[static_cast<size_t>(i)],
                        box[0], box[1], box[2], box[3]);
        }
        std::printf("%d people\n", people.count);
    } catch (const trtpose::Error& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}
