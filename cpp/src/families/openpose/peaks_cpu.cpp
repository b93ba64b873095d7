// SPDX-License-Identifier: Apache-2.0
// Peaks of one map, row by row of the enlarged map. Only the cells are enlarged that can reach the least score.
//
// A row is kept place by place within the cells: first what is at place 0 of every cell, then what is at place 1. So
// each place is a plain sum of neighbouring cells, and each neighbour of an enlarged pixel the same step away for all
// cells.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "core/thread_pool.hpp"
#include "families/openpose/select.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trtpose::openpose {
namespace {

// The search is compiled twice, of which one may use AVX2: all of it is inlined into the two.
#define TRTPOSE_INLINED inline __attribute__((always_inline))

constexpr int kLanes = Work::kLanes, kPad = Work::kPad;

// Vectors of the compiler's, which on other processors are several of theirs: at any address, of any numbers.
using Floats = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(alignof(float)), may_alias));
using Flags = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(alignof(int32_t)), may_alias));

TRTPOSE_INLINED const Floats& lanes(const float* at) { return *reinterpret_cast<const Floats*>(at); }
TRTPOSE_INLINED Floats& lanes(float* at) { return *reinterpret_cast<Floats*>(at); }

/// Four weights, each for all lanes.
struct Weights {
    Floats a, b, c, d;
};

/// weigh() of kLanes neighbours at once, in the same order.
TRTPOSE_INLINED void weigh_lanes(const Weights& w, const Floats& a, const Floats& b, const Floats& c, const Floats& d,
                                 Floats& out) {
    out = (w.a * a + w.d * d) + (w.b * b + w.c * c);
}

/// The number below which four cells around a pixel make it lower than the least score, however the map's other cells
/// are: of the weights of 16 cells the four in the middle are positive, the corners positive and small, the rest
/// negative.
TRTPOSE_INLINED float lowest_of_use(const Grid& grid, const float* plane) {
    Floats highest{}, lowest{};
    Flags normal = ~Flags{};
    const auto look_at = [&](const Floats& v) __attribute__((always_inline)) {
        highest = v > highest ? v : highest;
        lowest = v < lowest ? v : lowest;
        normal &= v - v == Floats{};  // neither infinite nor no number
    };
    const int cells = grid.cells(), whole = cells / kLanes * kLanes;
    for (int i = 0; i < whole; i += kLanes) look_at(lanes(plane + i));
    if (whole < cells) {
        float rest[kLanes] = {};
        std::copy(plane + whole, plane + cells, rest);
        look_at(lanes(rest));
    }
    float most = 0.0f, least = 0.0f, inner = 0.0f, outer = 0.0f;
    bool bounded = true;
    for (int i = 0; i < kLanes; ++i) {
        most = std::max(most, highest[i]);
        least = std::min(least, lowest[i]);
        bounded = bounded && normal[i] != 0;
    }
    for (int place = 0; place < grid.factor; ++place) {
        const float* const w = grid.weight[place];
        inner = std::max(inner, w[1] + w[2]);
        outer = std::max(outer, -(w[0] + w[3]));
    }
    constexpr float kRounding = 0.999f;  // thousands of times what the sums can lose
    const float rest = kRounding * kLeastScore - outer * outer * most + 2.0f * inner * outer * least;
    return bounded && rest > 0.0f ? rest / (inner * inner) : -std::numeric_limits<float>::infinity();
}

/// A bit for each lane that is set.
TRTPOSE_INLINED unsigned bits_of(const Flags& flags) {
    unsigned bits = 0;
#if defined(__x86_64__)
    __m128 halves[2];  // every x86-64 has these
    static_assert(sizeof halves == sizeof flags);
    std::memcpy(halves, &flags, sizeof flags);
    bits = static_cast<unsigned>(_mm_movemask_ps(halves[0]) | _mm_movemask_ps(halves[1]) << 4);
#else
    for (int i = 0; i < kLanes; ++i) bits |= (flags[i] != 0 ? 1u : 0u) << i;
#endif
    return bits;
}

/// Marks the pixels of a heatmap enlarged by kFactor that may be peaks: strip by strip, which is kLanes cells wide, and
/// within it from the top down, kFactor rows of pixels at a time, which are made of the same four rows of cells.
template <int kFactor>
class Marker {
public:
    TRTPOSE_INLINED Marker(const Job& job, const float* plane, const Search& search)
        : job_(job), grid_(job.grid), plane_(plane), s_(search), stride_(Work::stride(job.grid)) {
        for (int place = 0; place < kFactor; ++place) {
            const float* const w = grid_.weight[place];
            weights_[place] = {w[0] - Floats{}, w[1] - Floats{}, w[2] - Floats{}, w[3] - Floats{}};
        }
        copy_cells(lowest_of_use(grid_, plane));
    }

    /// The best of what was marked.
    TRTPOSE_INLINED Peakness mark() {
        for (int strip = 0; strip < Work::strips(grid_); ++strip) {
            bool before = false;
            for (int cell = kFirst; cell < grid_.height; ++cell) {
                const bool now = active(cell, strip);
                if (now) {
                    for (int i = before ? 2 : -1; i < 2; ++i) widen(cell + i, strip);
                    widen(cell + 2, strip);
                    enlarge(cell);
                }
                if (before && !now) clear();
                if (before || now) mark_rows(cell, strip);
                before = now;
            }
            if (before) {
                clear();
                mark_rows(grid_.height, strip);
            }
        }
        return level_ ? Peakness::level : strict_ ? Peakness::strict : Peakness::none;
    }

private:
    static constexpr int kHalf = kFactor / 2, kFirst = kFactor > 1 ? -1 : 0;
    static constexpr int kRows = kFactor + 2;  ///< two before those that are made of one four rows of cells

    TRTPOSE_INLINED const float* cells(int row) const {
        return s_.cells + static_cast<ptrdiff_t>(clamp_to(row, grid_.height - 1)) * stride_ + kPad;
    }
    /// Of each row of cells whether one of a strip's, or one beside them, is not low.
    TRTPOSE_INLINED uint8_t* high(int strip) const { return s_.high + static_cast<ptrdiff_t>(strip) * grid_.height; }

    /// Copy the map with its border repeated, kPad cells on the left and what is left of a row on the right.
    TRTPOSE_INLINED void copy_cells(float least) {
        const int strips = Work::strips(grid_);
        const float* from = plane_;
        float* to = s_.cells;
        for (int y = 0; y < grid_.height; ++y, from += grid_.width, to += stride_) {
            lanes(to) = from[0] - Floats{};
            std::memcpy(to + kPad, from, static_cast<size_t>(grid_.width) * sizeof(float));
            std::fill_n(to + kPad + grid_.width, stride_ - kPad - grid_.width, from[grid_.width - 1]);
            const float* const row = to + kPad;
            unsigned before = 0, bits = bits_of(lanes(row) >= least);
            uint8_t* out = s_.high + y;
            for (int strip = 0; strip < strips; ++strip, out += grid_.height) {
                // Behind the last there are cells of the border.
                const unsigned behind = bits_of(lanes(row + (strip + 1) * kLanes) >= least);
                *out = static_cast<uint8_t>(bits | before >> (kLanes - 1) | (behind & 1));
                before = bits;
                bits = behind;
            }
        }
    }

    /// Whether pixels of a strip between a row of cells and the next can reach the least score: one of the four cells
    /// around them is not low.
    TRTPOSE_INLINED bool active(int cell, int strip) const {
        const uint8_t* const rows = high(strip);
        if (kFactor == 1) return rows[cell] != 0;
        return (rows[std::max(cell, 0)] | rows[std::min(cell + 1, grid_.height - 1)]) != 0;
    }

    TRTPOSE_INLINED Floats* wide(int row) { return wide_[(row + 4) % 4]; }

    /// A row of cells enlarged sideways, place by place; what is outside the map 0.
    TRTPOSE_INLINED void widen(int row, int strip) {
        const int left = strip * kLanes, inside = grid_.width - left;
        const float* const from = cells(row) + left;
        Floats* const out = wide(row);
        for (int place = 0; place < kFactor; ++place) {
            const float* const at = from + (place < kHalf ? -2 : -1);
            if (kFactor == 1) {
                out[0] = lanes(from);
            } else {
                weigh_lanes(weights_[place], lanes(at), lanes(at + 1), lanes(at + 2), lanes(at + 3), out[place]);
            }
            for (int i = inside; i < kLanes; ++i) out[place][i] = 0.0f;
        }
    }

    /// Row k of those that four rows of cells make lies at this place within its cell.
    static constexpr int place_of(int k) { return (k + kHalf) % kFactor; }

    /// The next rows of pixels, behind the last two.
    TRTPOSE_INLINED void enlarge(int cell) {
        const Floats *const a = wide(cell - 1), *const b = wide(cell), *const c = wide(cell + 1),
                            *const d = wide(cell + 2);
        for (int place = 0; place < kFactor; ++place) {
            Floats* const out = pixels_[place];
            out[0] = out[kFactor];
            out[1] = out[kFactor + 1];
            for (int k = 0; k < kFactor; ++k) {
                if (kFactor == 1) {
                    out[2] = b[place];
                } else {
                    weigh_lanes(weights_[place_of(k)], a[place], b[place], c[place], d[place], out[2 + k]);
                }
            }
            if (cell < 0) std::fill_n(out + 2, kHalf, Floats{});
            if (kFactor > 1 && cell == grid_.height - 1) std::fill_n(out + 2 + kHalf, kHalf, Floats{});
        }
    }

    /// The next rows are below the least score, or outside the map.
    TRTPOSE_INLINED void clear() {
        for (auto& out : pixels_) {
            out[0] = out[kFactor];
            out[1] = out[kFactor + 1];
            std::fill_n(out + 2, kFactor, Floats{});
        }
    }

    /// All rows whose neighbours are known by now but not before.
    TRTPOSE_INLINED void mark_rows(int cell, int strip) {
        Flags rows[kFactor] = {}, any{};
        for (int place = 0; place < kFactor; ++place) {
            const Floats* const v = pixels_[place];
            for (int k = 1; k <= kFactor; ++k)
                rows[k - 1] |= (v[k] >= kLeastScore) & (v[k] >= v[k - 1]) & (v[k] >= v[k + 1]);
        }
        for (const Flags& row : rows) any |= row;
        if (bits_of(any) == 0) return;
        for (int k = 1; k <= kFactor; ++k) {
            if (bits_of(rows[k - 1]) != 0) mark_row(k, cell * kFactor + kHalf + k - 2, strip);
        }
    }

    /// A row in which some are as high as those above and below.
    TRTPOSE_INLINED void mark_row(int k, int y, int strip) {
        constexpr int last = kFactor - 1;
        // What is beside the strip is not known here, and looked at later.
        const Floats first = pixels_[0][k], final = pixels_[last][k], nothing{};
        const Floats before = __builtin_shufflevector(nothing, final, 0, 8, 9, 10, 11, 12, 13, 14);
        const Floats behind = __builtin_shufflevector(first, nothing, 1, 2, 3, 4, 5, 6, 7, 8);
        for (int place = 0; place < kFactor; ++place) {
            const Floats v = pixels_[place][k], above = pixels_[place][k - 1], below = pixels_[place][k + 1];
            const Floats left = place > 0 ? pixels_[place - 1][k] : before;
            const Floats right = place < last ? pixels_[place + 1][k] : behind;
            unsigned bits = bits_of((v >= kLeastScore) & (v >= left) & (v >= right) & (v >= above) & (v >= below));
            for (; bits != 0; bits &= bits - 1) {
                const int lane = __builtin_ctz(bits), x = (strip * kLanes + lane) * kFactor + place;
                const float l = lane == 0 && place == 0 ? pixel(x - 1, y) : left[lane];
                const float r = lane == kLanes - 1 && place == last ? pixel(x + 1, y) : right[lane];
                note(x, y, judge(v[lane], l, r, above[lane], below[lane]));
            }
        }
    }

    float pixel(int x, int y) const { return x < 0 || x >= grid_.columns() ? 0.0f : enlarged(grid_, plane_, x, y); }

    void note(int x, int y, Peakness found) {
        if (found == Peakness::none || (found == Peakness::level && job_.topology.reference)) return;
        s_.marks[x * job_.work.words + y / 32] |= 1u << (y % 32);
        (found == Peakness::level ? level_ : strict_) = true;
    }

    const Job& job_;
    const Grid& grid_;
    const float* plane_;
    const Search s_;
    const int stride_;
    bool strict_ = false, level_ = false;
    Weights weights_[kFactor];            ///< of each place within cells
    Floats wide_[4][kFactor];             ///< the last four rows of cells
    Floats pixels_[kFactor][kRows] = {};  ///< of each place within cells the last rows
};

/// Mark what may be a peak; `level` where any such has neighbours as high as it is.
template <int kFactor>
TRTPOSE_INLINED Peakness mark_enlarged(const Job& job, const float* plane, const Search& search) {
    std::fill_n(search.marks, job.mark_words(), 0u);
    return Marker<kFactor>(job, plane, search).mark();
}

TRTPOSE_INLINED Peakness mark(const Job& job, const float* plane, const Search& search) {
    static_assert(kMaxFactor == 8);
    switch (job.grid.factor) {
        case 1: return mark_enlarged<1>(job, plane, search);
        case 2: return mark_enlarged<2>(job, plane, search);
        case 4: return mark_enlarged<4>(job, plane, search);
        default: return mark_enlarged<8>(job, plane, search);
    }
}

Peakness mark_plain(const Job& job, const float* plane, const Search& search) { return mark(job, plane, search); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) Peakness mark_avx2(const Job& job, const float* plane, const Search& search) {
    return mark(job, plane, search);
}
auto* marker_of_this_machine() {
    static const bool has_avx2 = __builtin_cpu_supports("avx2");
    return has_avx2 ? &mark_avx2 : &mark_plain;
}
#else
auto* marker_of_this_machine() { return &mark_plain; }
#endif

/// Those marked that are peaks, column by column, without those too near to an earlier one; how many.
int list(const Job& job, const float* plane, const uint32_t* marks, bool level, Peak* found) {
    const Grid& grid = job.grid;
    int count = 0;
    const auto take = [&](int x, int y) {
        // Where none is level all were found to be peaks.
        Peak peak{static_cast<float>(x), static_cast<float>(y), 0.0f};
        if (!level) {
            peak.score = enlarged(grid, plane, x, y);
        } else if (!find_peak(grid, plane, x, y, job.topology.reference, &peak)) {
            return;
        }
        const bool near = std::any_of(found, found + count, [&](const Peak& p) { return too_near(p, peak); });
        if (!near && count < job.work.cells) found[count++] = peak;
    };
    const int words = static_cast<int>(job.mark_words());
    for (int first = 0; first < words; first += kLanes) {
        const int end = std::min(first + kLanes, words);
        uint32_t some = 0;
        for (int word = first; word < end; ++word) some |= marks[word];
        for (int word = some != 0 ? first : end; word < end; ++word) {
            if (marks[word] == 0) continue;
            const int x = word / job.work.words;
            int y = word % job.work.words * 32;
            for (uint32_t bits = marks[word]; bits != 0; ++y, bits >>= 1) {
                if ((bits & 1) != 0) take(x, y);
            }
        }
    }
    return count;
}

/// The highest of more than there is room for, in their order; how many.
int keep_highest(const Peak* found, int count, int room, Peak* peaks) {
    if (count <= room) {
        std::copy_n(found, count, peaks);
        return count;
    }
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        int higher = 0;
        for (int j = 0; j < count; ++j) higher += outranks(found[j], j, found[i], i) ? 1 : 0;
        if (higher < room) peaks[kept++] = found[i];
    }
    return kept;
}

}  // namespace

void peaks_cpu(const Job& job, int images, ThreadPool* threads) {
    const Work& work = job.work;
    const int maps = job.topology.maps, lists = images * maps;
    auto* const mark = marker_of_this_machine();
    std::atomic<int> next{0};
    // A thread takes map after map in the same memory.
    parallel_for(threads, std::min({lists, Work::kMostSearches, threads ? threads->size() : 1}), [&](int slot) {
        const Search search = work.search(slot, job.grid);
        for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < lists;) {
            const float* const plane = job.heatmap<float>(i / maps, i % maps);
            const Peakness marked = mark(job, plane, search);
            const int count =
                marked == Peakness::none ? 0 : list(job, plane, search.marks, marked == Peakness::level, search.found);
            work.peak_counts[i] = keep_highest(search.found, count, work.most_peaks,
                                               work.peaks + static_cast<ptrdiff_t>(i) * work.most_peaks);
        }
    });
}

}  // namespace trtpose::openpose
