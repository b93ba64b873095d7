// SPDX-License-Identifier: Apache-2.0
// limb_score() of many pairs as a CPU is quick at it; the same bits.
#pragma once

#include "families/openpose/limbs.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trtpose::openpose {

/// A limb's two lists of peaks.
struct Ends {
    const Peak *from, *to;
    int from_count, to_count;
};

/// A limb's field.
struct Field {
    const Grid& grid;
    const float *x, *y;  ///< its two maps
};

/// Scores of all pairs, to_count × from_count, one by one.
inline void score_pairs_plainly(const Field& field, const Ends& ends, float* scores) {
    for (int b = 0; b < ends.to_count; ++b) {
        for (int a = 0; a < ends.from_count; ++a)
            *scores++ = limb_score(field.grid, field.x, field.y, ends.from[a], ends.to[b]);
    }
}

#if defined(__x86_64__)
#define TRTPOSE_AVX2 __attribute__((target("avx2"))) inline

/// Where a field is looked at, for eight enlarged pixels.
struct Spots {
    alignas(32) int32_t column[8], row[8];   ///< the pixels
    alignas(32) int32_t across[8], down[8];  ///< their places within the cells
    alignas(32) int32_t first[4][8];         ///< elements of a map: the first of four cells in each of four rows
    int within;                              ///< a bit for each whose four columns all lie within the map

    TRTPOSE_AVX2 Spots(const Grid& grid, __m256i x, __m256i y) {
        store(column, x);
        store(row, y);
        const __m256i one = _mm256_set1_epi32(1), last = _mm256_set1_epi32(grid.height - 1);
        const __m256i left = _mm256_sub_epi32(cells(grid, x, across), one);
        __m256i above = _mm256_sub_epi32(cells(grid, y, down), one);
        const __m256i outside =
            _mm256_or_si256(_mm256_srai_epi32(left, 31), _mm256_cmpgt_epi32(left, _mm256_set1_epi32(grid.width - 4)));
        within = grid.factor == 1 ? 0 : ~_mm256_movemask_ps(_mm256_castsi256_ps(outside));
        for (auto& firsts : first) {
            const __m256i cut = _mm256_min_epi32(_mm256_max_epi32(above, _mm256_setzero_si256()), last);
            store(firsts, _mm256_add_epi32(_mm256_mullo_epi32(cut, _mm256_set1_epi32(grid.width)), left));
            above = _mm256_add_epi32(above, one);
        }
    }

private:
    TRTPOSE_AVX2 static void store(int32_t* to, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }
    /// Grid::cell() and place() of eight.
    TRTPOSE_AVX2 static __m256i cells(const Grid& grid, __m256i at, int32_t* places) {
        const __m256i place = _mm256_and_si256(at, _mm256_set1_epi32(grid.factor - 1));
        store(places, place);
        const __m256i twice = _mm256_slli_epi32(place, 1);
        const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(grid.factor - 1), twice);  // -1 where it is so
        return _mm256_add_epi32(_mm256_srl_epi32(at, _mm_cvtsi32_si128(grid.shift)), before);
    }
};

/// Eight lines to one peak, as Line has them.
struct Lines {
    __m256 x, y, step_x, step_y;
    alignas(32) float ux[8], uy[8];

    TRTPOSE_AVX2 Lines(const float* from_x, const float* from_y, const Peak& to)
        : x(_mm256_loadu_ps(from_x)), y(_mm256_loadu_ps(from_y)) {
        const __m256 vx = _mm256_sub_ps(_mm256_set1_ps(to.x), x), vy = _mm256_sub_ps(_mm256_set1_ps(to.y), y);
        const __m256 square = _mm256_add_ps(_mm256_mul_ps(vx, vx), _mm256_mul_ps(vy, vy));
        const __m256 length = _mm256_add_ps(_mm256_sqrt_ps(square), _mm256_set1_ps(kTiny));
        const __m256 step = _mm256_set1_ps(1.0f / (kPoints - 1));
        _mm256_store_ps(ux, _mm256_div_ps(vx, length));
        _mm256_store_ps(uy, _mm256_div_ps(vy, length));
        step_x = _mm256_mul_ps(step, vx);
        step_y = _mm256_mul_ps(step, vy);
    }
};

/// Line::nearest() of eight. Cut before it is rounded, which comes to the same as the bounds are whole numbers.
TRTPOSE_AVX2 __m256i nearest(__m256 first, __m256 i, __m256 step, int count) {
    const __m256 at = _mm256_add_ps(first, _mm256_mul_ps(i, step));
    const __m256 most = _mm256_set1_ps(static_cast<float>(count - 1));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), most));
}

/// Of each half the outer two numbers and the inner two, summed: weigh()'s first step of two.
TRTPOSE_AVX2 __m256 outer_and_inner(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                         _mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 3, 2, 3)));
}

/// The four rows around a spot, each enlarged sideways and weighed; the field's x in the lower half, its y in the
/// upper.
TRTPOSE_AVX2 __m256 four_rows(const Field& field, const Spots& spots, int i) {
    const auto weights = [&](int place) { return reinterpret_cast<const __m128*>(field.grid.weight[place]); };
    const __m256 across = _mm256_broadcast_ps(weights(spots.across[i])),
                 down = _mm256_broadcast_ps(weights(spots.down[i]));
    __m256 rows[4];
    for (int r = 0; r < 4; ++r) {
        const ptrdiff_t first = spots.first[r][i];
        const __m256 x = _mm256_castps128_ps256(_mm_loadu_ps(field.x + first));
        rows[r] = _mm256_mul_ps(_mm256_insertf128_ps(x, _mm_loadu_ps(field.y + first), 1), across);
    }
    const __m256 upper = outer_and_inner(rows[0], rows[1]), lower = outer_and_inner(rows[2], rows[3]);
    const __m256 sums = _mm256_add_ps(_mm256_shuffle_ps(upper, lower, _MM_SHUFFLE(2, 0, 2, 0)),
                                      _mm256_shuffle_ps(upper, lower, _MM_SHUFFLE(3, 1, 3, 1)));
    return _mm256_mul_ps(sums, down);
}

/// Two spots of a line, and what of the field goes its way there.
struct TwoSpots {
    const Spots *a, *b;
    int i, j;

    TRTPOSE_AVX2 void along(const Field& field, float ux, float uy, float* at_a, float* at_b) const {
        if ((a->within >> i & b->within >> j & 1) == 0) {
            *at_a = one_by_one(field, ux, uy, *a, i);
            *at_b = one_by_one(field, ux, uy, *b, j);
            return;
        }
        const __m256 parts = outer_and_inner(four_rows(field, *a, i), four_rows(field, *b, j));
        const __m256 values = _mm256_add_ps(parts, _mm256_shuffle_ps(parts, parts, _MM_SHUFFLE(2, 3, 0, 1)));
        const __m128 sums = _mm_add_ps(_mm_mul_ps(_mm256_castps256_ps128(values), _mm_set1_ps(ux)),
                                       _mm_mul_ps(_mm256_extractf128_ps(values, 1), _mm_set1_ps(uy)));
        *at_a = _mm_cvtss_f32(sums);
        *at_b = _mm_cvtss_f32(_mm_movehl_ps(sums, sums));
    }

private:
    static float one_by_one(const Field& field, float ux, float uy, const Spots& spots, int i) {
        const int x = spots.column[i], y = spots.row[i];
        return enlarged(field.grid, field.x, x, y) * ux + enlarged(field.grid, field.y, x, y) * uy;
    }
};

/// The lines' points from the middle on, by twos: those of what is no limb lie off the field there first.
class Walk {
public:
    TRTPOSE_AVX2 Walk(const Field& field, const Lines& lines)
        : field_(field), lines_(lines), fifth_(at_point(5.0f)), fourth_(at_point(4.0f)) {
        _mm256_store_ps(x_, lines.x);
        _mm256_store_ps(y_, lines.y);
        _mm256_store_ps(step_x_, lines.step_x);
        _mm256_store_ps(step_y_, lines.step_y);
    }

    /// limb_score() of line i.
    TRTPOSE_AVX2 float score(int i) const {
        static_assert(kPoints == 10 && kEnough == 9);
        float along[kPoints];
        const float ux = lines_.ux[i], uy = lines_.uy[i];
        int missed = 0;
        const auto miss = [&](int a, int b) {
            missed += (along[a] > kLeastAlong ? 0 : 1) + (along[b] > kLeastAlong ? 0 : 1);
            return missed > kPoints - kEnough;
        };
        TwoSpots{&fifth_, &fourth_, i, i}.along(field_, ux, uy, along + 5, along + 4);
        if (miss(5, 4)) return kNoLimb;
        const __m256 points = _mm256_setr_ps(6, 3, 7, 2, 8, 1, 9, 0);
        const Spots others(field_.grid,
                           nearest(_mm256_set1_ps(x_[i]), points, _mm256_set1_ps(step_x_[i]), field_.grid.columns()),
                           nearest(_mm256_set1_ps(y_[i]), points, _mm256_set1_ps(step_y_[i]), field_.grid.rows()));
        for (int n = 0; n < 4; ++n) {
            TwoSpots{&others, &others, 2 * n, 2 * n + 1}.along(field_, ux, uy, along + 6 + n, along + 3 - n);
            if (miss(6 + n, 3 - n)) return kNoLimb;
        }
        float sum = 0.0f;
        for (const float one : along) sum += one > kLeastAlong ? one : 0.0f;
        return mean_along(sum, kPoints - missed);
    }

private:
    TRTPOSE_AVX2 Spots at_point(float i) const {
        const Grid& grid = field_.grid;
        return {grid, nearest(lines_.x, _mm256_set1_ps(i), lines_.step_x, grid.columns()),
                nearest(lines_.y, _mm256_set1_ps(i), lines_.step_y, grid.rows())};
    }

    const Field& field_;
    const Lines& lines_;
    Spots fifth_, fourth_;
    alignas(32) float x_[8], y_[8], step_x_[8], step_y_[8];
};

/// score_pairs_plainly(), eight lines at a time.
TRTPOSE_AVX2 void score_pairs_avx2(const Field& field, const Ends& ends, float* scores) {
    alignas(32) float x[kMostPeaks], y[kMostPeaks];
    static_assert(kMostPeaks % 8 == 0);
    for (int a = 0; a < (ends.from_count + 7) / 8 * 8; ++a) {
        const Peak& peak = ends.from[a < ends.from_count ? a : 0];
        x[a] = peak.x;
        y[a] = peak.y;
    }
    for (int b = 0; b < ends.to_count; ++b) {
        for (int a = 0; a < ends.from_count; a += 8) {
            const Lines lines(x + a, y + a, ends.to[b]);
            const Walk walk(field, lines);
            for (int i = 0; i < 8 && a + i < ends.from_count; ++i) *scores++ = walk.score(i);
        }
    }
}
#undef TRTPOSE_AVX2
#endif

/// Scores of all pairs, to_count × from_count.
inline void score_pairs(const Field& field, const Ends& ends, float* scores) {
#if defined(__x86_64__)
    static const bool has_avx2 = __builtin_cpu_supports("avx2");
    if (has_avx2) return score_pairs_avx2(field, ends, scores);
#endif
    score_pairs_plainly(field, ends, scores);
}

}  // namespace trtpose::openpose
