// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "families/tiny/select.hpp"

namespace trtpose::test {
namespace {

__global__ void select_kernel(const __grid_constant__ TinyRows all, const math::Letterbox* placements, int32_t* taken,
                              int32_t* counts, const __grid_constant__ ops::PoseArrays out) {
    const int image = static_cast<int>(blockIdx.x);
    select_image(all, image, placements[image], taken, counts, out);
}

}  // namespace

void select_cuda(const TinyRows& all, int images, const math::Letterbox* placements, int32_t* taken, int32_t* counts,
                 const ops::PoseArrays& out, void* stream) {
    TRTPOSE_LAUNCH(select_kernel, static_cast<unsigned>(images), 1, 0, stream, all, placements, taken, counts, out);
    cuda_check_launch("the selection of rows");
}

}  // namespace trtpose::test
