// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "core/buffer.hpp"
#include "core/thread_pool.hpp"
#include "ops/letterbox_kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trtpose::kernels {
namespace {

// Rows of a frame are done in this many bands, so that one frame keeps several threads busy.
constexpr int kBands = 16;

/// Scratch of one frame: the columns' taps, shared, and two rows of horizontal sums for each band.
struct Scratch {
    int32_t* offset;  ///< bytes from the start of the row to the first of two pixels
    int16_t* weight;  ///< 2 per column
    int16_t* rows;    ///< bands × 2 rows × 3 channels × width

    static Scratch of(Planner& plan, int dst_width) {
        const auto width = static_cast<size_t>(dst_width);
        return {plan.take<int32_t>(width), plan.take<int16_t>(2 * width), plan.take<int16_t>(width * 2 * 3 * kBands)};
    }
};

void make_taps(const LetterboxJob& job, const Scratch& s) {
    const math::Letterbox& place = job.place;
    for (int x = 0; x < place.width; ++x) {
        math::Tap tap = math::resize_tap(x, job.scale_x, place.src_width, true);
        // The last column has no right neighbour: take the pair before it, with all the weight on its second pixel.
        if (tap.index == place.src_width - 1 && place.src_width > 1) tap = {tap.index - 1, 0, 2048};
        s.offset[x] = 3 * tap.index;
        s.weight[2 * x] = static_cast<int16_t>(tap.c0);
        s.weight[2 * x + 1] = static_cast<int16_t>(tap.c1);
    }
}

/// Horizontal sums of one row, planar: out[c·width + x].
void row_sums(const uint8_t* row, const Scratch& s, int begin, int width, int16_t* out) {
    for (int x = begin; x < width; ++x) {
        const uint8_t* p = row + s.offset[x];
        for (int c = 0; c < 3; ++c) {
            out[c * width + x] =
                static_cast<int16_t>(math::resize_row(p[c], p[3 + c], s.weight[2 * x], s.weight[2 * x + 1]));
        }
    }
}

/// A frame one pixel wide has no second pixel to read.
void row_sums_narrow(const uint8_t* row, int width, int16_t* out) {
    for (int x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) out[c * width + x] = static_cast<int16_t>(math::resize_row(row[c], 0, 2048, 0));
    }
}

/// The same for a row of NV12, each pixel made red, green and blue first.
void row_sums_nv12(const LetterboxJob& job, int y, const Scratch& s, int16_t* out) {
    const uint8_t* luma = job.src + y * job.src_stride;
    const uint8_t* chroma = job.chroma + y / 2 * job.chroma_stride;
    const int width = job.place.width, last = job.place.src_width - 1;
    for (int x = 0; x < width; ++x) {
        const int first = s.offset[x] / 3, second = first < last ? first + 1 : last;
        int p[3], q[3];
        math::yuv_to_rgb(job.yuv, luma[first], chroma[first / 2 * 2], chroma[first / 2 * 2 + 1], p);
        math::yuv_to_rgb(job.yuv, luma[second], chroma[second / 2 * 2], chroma[second / 2 * 2 + 1], q);
        for (int c = 0; c < 3; ++c)
            out[c * width + x] =
                static_cast<int16_t>(math::resize_row(p[c], q[c], s.weight[2 * x], s.weight[2 * x + 1]));
    }
}

/// Vertical step and normalisation of one channel of one row.
__attribute__((always_inline)) inline void blend(const int16_t* h0, const int16_t* h1, int b0, int b1, int width,
                                                 float mean, float std, float* __restrict out) {
    for (int x = 0; x < width; ++x) {
        const int value = math::resize_column(h0[x], h1[x], b0, b1);
        out[x] = (static_cast<float>(value) - mean) / std;
    }
}

void blend_row(const int16_t* h0, const int16_t* h1, int b0, int b1, int width, float mean, float std, float* out) {
    blend(h0, h1, b0, b1, width, mean, std, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void blend_row_avx2(const int16_t* h0, const int16_t* h1, int b0, int b1, int width,
                                                    float mean, float std, float* out) {
    const __m256i w0 = _mm256_set1_epi16(static_cast<short>(b0)), w1 = _mm256_set1_epi16(static_cast<short>(b1));
    const __m256i two = _mm256_set1_epi16(2);
    const __m256 m = _mm256_set1_ps(mean), s = _mm256_set1_ps(std);
    int x = 0;
    for (; x + 16 <= width; x += 16) {
        const __m256i a = _mm256_mulhi_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(h0 + x)), w0);
        const __m256i b = _mm256_mulhi_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(h1 + x)), w1);
        const __m256i v = _mm256_srai_epi16(_mm256_add_epi16(_mm256_add_epi16(a, b), two), 2);
        const __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(v)));
        const __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(v, 1)));
        _mm256_storeu_ps(out + x, _mm256_div_ps(_mm256_sub_ps(lo, m), s));
        _mm256_storeu_ps(out + x + 8, _mm256_div_ps(_mm256_sub_ps(hi, m), s));
    }
    if (x < width) blend(h0 + x, h1 + x, b0, b1, width - x, mean, std, out + x);
}

/// Four columns' two pixels each: those at the first two offsets below, those at the others above.
__attribute__((target("avx2"))) inline __m256i four_pairs(const uint8_t* row, const int32_t* low, const int32_t* high) {
    const auto two = [&](const int32_t* at) __attribute__((target("avx2"))) {
        const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + at[0]));
        const __m128i second = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + at[1]));
        return _mm_unpacklo_epi64(first, second);
    };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(two(low)), two(high), 1);
}

/// Eight columns at a time, as far as the eight bytes from a column's first pixel on lie within the row.
__attribute__((target("avx2"))) int row_sums_avx2(const uint8_t* row, int row_bytes, const Scratch& s, int width,
                                                  int16_t* out) {
    // Of a channel the bytes of both pixels, side by side as 16 bits each: of two columns below, or above.
    const __m128i below = _mm_setr_epi8(0, -1, 3, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i above = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 0, -1, 3, -1, 8, -1, 11, -1);
    __m256i low = _mm256_broadcastsi128_si256(below), high = _mm256_broadcastsi128_si256(above);
    const __m256i next_low = _mm256_and_si256(_mm256_cmpgt_epi8(low, _mm256_set1_epi8(-1)), _mm256_set1_epi8(1));
    const __m256i next_high = _mm256_and_si256(_mm256_cmpgt_epi8(high, _mm256_set1_epi8(-1)), _mm256_set1_epi8(1));
    __m256i lows[3], highs[3];
    for (int c = 0; c < 3; ++c) {
        lows[c] = low;
        highs[c] = high;
        low = _mm256_add_epi8(low, next_low);
        high = _mm256_add_epi8(high, next_high);
    }
    int x = 0;
    for (; x + 8 <= width && s.offset[x + 7] + 8 <= row_bytes; x += 8) {
        const int32_t* const at = s.offset + x;
        const __m256i p = four_pairs(row, at, at + 4), q = four_pairs(row, at + 2, at + 6);
        const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(s.weight + 2 * x));
        for (int c = 0; c < 3; ++c) {
            const __m256i pair = _mm256_or_si256(_mm256_shuffle_epi8(p, lows[c]), _mm256_shuffle_epi8(q, highs[c]));
            const __m256i sum = _mm256_srli_epi32(_mm256_madd_epi16(pair, w), 4);
            const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(sum, sum), 0xD8);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + c * width + x), _mm256_castsi256_si128(packed));
        }
    }
    return x;
}

bool has_avx2() {
    static const bool yes = __builtin_cpu_supports("avx2");
    return yes;
}
#endif

/// The horizontal sums of the two rows of a frame that were asked for last.
class RowSums {
public:
    RowSums(const LetterboxJob& job, const Scratch& s, int band, bool simd) : job_(job), scratch_(s), simd_(simd) {
        const auto row = static_cast<size_t>(job.place.width) * 3;
        for (size_t i = 0; i < 2; ++i) sums_[i] = s.rows + (static_cast<size_t>(band) * 2 + i) * row;
    }

    /// Of row `y`; those of row `other` stay where they are.
    const int16_t* at(int y, int other) {
        for (int i = 0; i < 2; ++i) {
            if (row_of_[i] == y) return sums_[i];
        }
        const int i = row_of_[0] == other ? 1 : 0;
        make(y, sums_[i]);
        row_of_[i] = y;
        return sums_[i];
    }

    /// Ask for a row that comes next: which one that is no processor guesses where a picture is made smaller.
    void expect(int y) const {
        constexpr ptrdiff_t kLine = 64;
        if (job_.chroma || y == row_of_[0] || y == row_of_[1]) return;
        const uint8_t* const row = job_.src + static_cast<ptrdiff_t>(y) * job_.src_stride;
        const ptrdiff_t bytes = ptrdiff_t{3} * job_.place.src_width;
        for (ptrdiff_t at = 0; at < bytes; at += kLine) __builtin_prefetch(row + at);
    }

private:
    void make(int y, int16_t* out) const {
        const math::Letterbox& place = job_.place;
        const uint8_t* row = job_.src + static_cast<ptrdiff_t>(y) * job_.src_stride;
        if (job_.chroma) {
            row_sums_nv12(job_, y, scratch_, out);
        } else if (place.src_width == 1) {
            row_sums_narrow(row, place.width, out);
        } else {
            int done = 0;
#if defined(__x86_64__)
            if (simd_ && has_avx2()) done = row_sums_avx2(row, 3 * place.src_width, scratch_, place.width, out);
#endif
            row_sums(row, scratch_, done, place.width, out);
        }
    }

    const LetterboxJob& job_;
    const Scratch& scratch_;
    bool simd_;
    int16_t* sums_[2];
    int row_of_[2] = {-1, -1};
};

void band(const LetterboxJob& job, const Scratch& s, int index, bool simd) {
    const math::Letterbox& place = job.place;
    const int begin = static_cast<int>(static_cast<int64_t>(place.dst_height) * index / kBands);
    const int end = static_cast<int>(static_cast<int64_t>(place.dst_height) * (index + 1) / kBands);
    const size_t plane = static_cast<size_t>(place.dst_width) * static_cast<size_t>(place.dst_height);
    float border[3];
    for (int c = 0; c < 3; ++c) border[c] = (static_cast<float>(job.pad) - job.mean[c]) / job.std[c];

    RowSums rows(job, s, index, simd);
    for (int y = begin; y < end; ++y) {
        const size_t row_start = static_cast<size_t>(y) * static_cast<size_t>(place.dst_width);
        const int inner = y - place.top;
        if (inner < 0 || inner >= place.height) {
            for (int c = 0; c < 3; ++c)
                std::fill_n(job.dst + static_cast<size_t>(c) * plane + row_start, place.dst_width, border[c]);
            continue;
        }
        const math::Tap tap = math::resize_tap(inner, job.scale_y, place.src_height, false);
        const auto within = [&](int row) { return std::clamp(row, 0, place.src_height - 1); };
        const int y0 = within(tap.index), y1 = within(tap.index + 1);
        const int16_t* first = rows.at(y0, y1);
        const int16_t* second = rows.at(y1, y0);
        const int next = math::resize_tap(inner + 1, job.scale_y, place.src_height, false).index;
        rows.expect(within(next));
        rows.expect(within(next + 1));
        for (int c = 0; c < 3; ++c) {
            const size_t source = static_cast<size_t>(job.swap ? 2 - c : c) * static_cast<size_t>(place.width);
            float* out = job.dst + static_cast<size_t>(c) * plane + row_start;
            std::fill_n(out, place.left, border[c]);
            auto* const blend_with = [&] {
#if defined(__x86_64__)
                if (simd && has_avx2()) return &blend_row_avx2;
#endif
                return &blend_row;
            }();
            blend_with(first + source, second + source, tap.c0, tap.c1, place.width, job.mean[c], job.std[c],
                       out + place.left);
            const int right = place.left + place.width;
            std::fill_n(out + right, place.dst_width - right, border[c]);
        }
    }
}

}  // namespace

size_t letterbox_cpu_scratch(int dst_width) {
    Planner plan;
    Scratch::of(plan, dst_width);
    return plan.used();
}

void letterbox_cpu(const LetterboxJob* jobs, int count, void* scratch, ThreadPool* threads, bool simd) {
    if (count == 0) return;
    const size_t each = letterbox_cpu_scratch(jobs[0].place.dst_width);
    const auto scratch_of = [&](int job) {
        Planner plan(static_cast<char*>(scratch) + static_cast<size_t>(job) * each);
        return Scratch::of(plan, jobs[job].place.dst_width);
    };
    for (int i = 0; i < count; ++i) make_taps(jobs[i], scratch_of(i));
    parallel_for(threads, count * kBands, [&](int task) {
        const int job = task / kBands;
        band(jobs[job], scratch_of(job), task % kBands, simd);
    });
}

}  // namespace trtpose::kernels
