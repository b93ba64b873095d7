// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "ops/letterbox_kernels.hpp"

namespace trtpose::kernels {
namespace {

// A block makes a tile: each warp a row, each lane every 32nd column, so that a warp reads and writes neighbours.
constexpr int kRows = 8;
constexpr int kColumnsPerLane = 4;
constexpr int kColumns = kWarp * kColumnsPerLane;

// Jobs that travel as arguments of one kernel, of which 4 KiB are allowed.
constexpr int kJobsPerUpload = 16;
struct JobPack {
    alignas(8) unsigned char bytes[kJobsPerUpload * sizeof(LetterboxJob)];
};
static_assert(sizeof(JobPack) + 64 < 4096, "too large for the arguments of a kernel");
static_assert(sizeof(LetterboxJob) % sizeof(uint64_t) == 0, "copied in words");

/// As words: 16 jobs are about as many words as a block has threads.
__global__ void upload_kernel(const __grid_constant__ JobPack pack, int words, uint64_t* out) {
    const auto* in = reinterpret_cast<const uint64_t*>(pack.bytes);
    for (int i = static_cast<int>(threadIdx.x); i < words; i += static_cast<int>(blockDim.x)) out[i] = in[i];
}

/// The three bytes of one pixel of the frame, in the frame's order.
__device__ void load_pixel(const LetterboxJob& job, const uint8_t* row, const uint8_t* chroma_row, int x, int* out) {
    if (chroma_row) {
        const uint8_t* uv = chroma_row + x / 2 * 2;
        math::yuv_to_rgb(job.yuv, row[x], uv[0], uv[1], out);
        return;
    }
    const uint8_t* p = row + 3 * static_cast<ptrdiff_t>(x);
    out[0] = p[0];
    out[1] = p[1];
    out[2] = p[2];
}

__device__ void store(float* out, float value) { *out = value; }
__device__ void store(__half* out, float value) { *out = __float2half_rn(value); }

struct ColumnTap {
    int first, second;  ///< columns of the frame
    int c0, c1;
};

/// The block's frame into shared memory.
__device__ void load_job(const LetterboxJob* job, LetterboxJob* shared, int thread) {
    constexpr int kWords = static_cast<int>(sizeof(LetterboxJob) / sizeof(uint32_t));
    static_assert(kWords <= kWarp * kRows, "one word for each thread");
    if (thread < kWords) reinterpret_cast<uint32_t*>(shared)[thread] = reinterpret_cast<const uint32_t*>(job)[thread];
    __syncthreads();
}

/// Where the columns and rows of the tile at (tile_x, tile_y) come from, as far as they are inside of the frame. Made
/// in double, which many GPUs are slow at: once for each of them.
__device__ void make_taps(const LetterboxJob& job, int tile_x, int tile_y, int thread, ColumnTap* columns,
                          math::Tap* rows) {
    const math::Letterbox& place = job.place;
    if (thread < kColumns) {
        const int x = tile_x + thread - place.left;
        if (x >= 0 && x < place.width) {
            const math::Tap tap = math::resize_tap(x, job.scale_x, place.src_width, true);
            const int second = tap.index + 1 < place.src_width ? tap.index + 1 : tap.index;
            columns[thread] = {tap.index, second, tap.c0, tap.c1};
        }
    } else if (thread < kColumns + kRows) {
        const int y = tile_y + thread - kColumns - place.top;
        if (y >= 0 && y < place.height)
            rows[thread - kColumns] = math::resize_tap(y, job.scale_y, place.src_height, false);
    }
    __syncthreads();
}

/// The two rows of the frame that one row of the output is made of.
struct RowPair {
    const uint8_t *first = nullptr, *second = nullptr, *first_chroma = nullptr, *second_chroma = nullptr;
    int c0 = 0, c1 = 0;
};

__device__ RowPair rows_at(const LetterboxJob& job, const math::Letterbox& place, math::Tap tap) {
    const int last = place.src_height - 1;
    const int y0 = tap.index < 0 ? 0 : tap.index > last ? last : tap.index;
    const int y1 = tap.index + 1 < 0 ? 0 : tap.index + 1 > last ? last : tap.index + 1;
    RowPair out;
    out.c0 = tap.c0;
    out.c1 = tap.c1;
    out.first = job.src + y0 * job.src_stride;
    out.second = job.src + y1 * job.src_stride;
    if (job.chroma) {
        out.first_chroma = job.chroma + y0 / 2 * job.chroma_stride;
        out.second_chroma = job.chroma + y1 / 2 * job.chroma_stride;
    }
    return out;
}

/// One resized pixel, in the network's order of colours.
__device__ void resize(const LetterboxJob& job, const RowPair& rows, const ColumnTap tap, int* value) {
    int p00[3], p01[3], p10[3], p11[3];
    load_pixel(job, rows.first, rows.first_chroma, tap.first, p00);
    load_pixel(job, rows.first, rows.first_chroma, tap.second, p01);
    load_pixel(job, rows.second, rows.second_chroma, tap.first, p10);
    load_pixel(job, rows.second, rows.second_chroma, tap.second, p11);
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        const int h0 = math::resize_row(p00[c], p01[c], tap.c0, tap.c1);
        const int h1 = math::resize_row(p10[c], p11[c], tap.c0, tap.c1);
        value[c] = math::resize_column(h0, h1, rows.c0, rows.c1);
    }
    if (job.swap) {
        const int first = value[0];
        value[0] = value[2];
        value[2] = first;
    }
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kRows)
    letterbox_kernel(const LetterboxJob* jobs, int width, int height, T* output, math::Letterbox* placements) {
    TRTPOSE_SHARED(LetterboxJob, shared_job, 1);
    TRTPOSE_SHARED(ColumnTap, columns, kColumns);
    TRTPOSE_SHARED(math::Tap, rows, kRows);
    const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
    const int thread = warp * kWarp + lane;
    const int tile_x = static_cast<int>(blockIdx.x) * kColumns, tile_y = static_cast<int>(blockIdx.y) * kRows;
    const int image = static_cast<int>(blockIdx.z);

    load_job(jobs + image, shared_job, thread);
    const LetterboxJob& job = *shared_job;
    const math::Letterbox place = job.place;
    if (placements && blockIdx.x == 0 && blockIdx.y == 0 && thread == 0) placements[image] = place;
    make_taps(job, tile_x, tile_y, thread, columns, rows);

    const int out_y = tile_y + warp;
    if (out_y >= height) return;
    const size_t plane = static_cast<size_t>(width) * static_cast<size_t>(height);
    T* const out = output + static_cast<size_t>(image) * 3 * plane + static_cast<size_t>(out_y) * width;
    const bool inside = out_y >= place.top && out_y < place.top + place.height;
    const RowPair pair = inside ? rows_at(job, place, rows[warp]) : RowPair{};
#pragma unroll
    for (int i = 0; i < kColumnsPerLane; ++i) {
        const int column = i * kWarp + lane, out_x = tile_x + column;
        if (out_x >= width) break;
        int value[3] = {job.pad, job.pad, job.pad};
        if (inside && out_x >= place.left && out_x < place.left + place.width)
            resize(job, pair, columns[column], value);
#pragma unroll
        for (int c = 0; c < 3; ++c)
            store(out + c * plane + out_x, (static_cast<float>(value[c]) - job.mean[c]) / job.std[c]);
    }
}

}  // namespace

void letterbox_upload_cuda(const LetterboxJob* jobs, int count, LetterboxJob* device_jobs, void* stream) {
    for (int first = 0; first < count; first += kJobsPerUpload) {
        const int n = count - first < kJobsPerUpload ? count - first : kJobsPerUpload;
        JobPack pack{};
        memcpy(pack.bytes, jobs + first, static_cast<size_t>(n) * sizeof(LetterboxJob));
        const int words = static_cast<int>(static_cast<size_t>(n) * sizeof(LetterboxJob) / sizeof(uint64_t));
        TRTPOSE_LAUNCH(upload_kernel, 1, 256, 0, stream, pack, words, reinterpret_cast<uint64_t*>(device_jobs + first));
        cuda_check_launch("letterbox upload");
    }
}

void letterbox_cuda(const LetterboxJob* device_jobs, int count, Size size, void* output, DType dtype,
                    math::Letterbox* placements, void* stream) {
    if (count == 0) return;
    const dim3 grid(static_cast<unsigned>((size.width + kColumns - 1) / kColumns),
                    static_cast<unsigned>((size.height + kRows - 1) / kRows), static_cast<unsigned>(count));
    const dim3 block(kWarp, kRows);
    if (dtype == DType::f16) {
        TRTPOSE_LAUNCH(letterbox_kernel<__half>, grid, block, 0, stream, device_jobs, size.width, size.height,
                       static_cast<__half*>(output), placements);
    } else {
        TRTPOSE_LAUNCH(letterbox_kernel<float>, grid, block, 0, stream, device_jobs, size.width, size.height,
                       static_cast<float*>(output), placements);
    }
    cuda_check_launch("letterbox");
}

}  // namespace trtpose::kernels
