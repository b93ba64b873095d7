// SPDX-License-Identifier: Apache-2.0
// From maps to poses in four steps, each as twins for the CPU and for CUDA: peaks are found, listed, joined by limbs,
// and the joints put together to poses.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/buffer.hpp"
#include "families/openpose/poses.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::openpose {

/// A batch of outputs. Image n's part begins at n·step elements.
struct Outputs {
    const void* heatmaps = nullptr;  ///< (maps + 1) × h × w
    const void* fields = nullptr;    ///< 2·limbs × h × w
    int64_t heatmap_step = 0, field_step = 0;
    bool half = false;  ///< float16, on CUDA alone
};

/// Where one map's peaks are sought on the CPU, map after map.
struct Search {
    uint32_t* marks;  ///< as those of Work
    Peak* found;
    float* cells;   ///< the map with a border
    uint8_t* high;  ///< strips × its rows: where cells are that may be part of a peak
};

/// What is held from peaks to poses, as parts of one block; sizes are those of one image.
struct Work {
    int words = 0;       ///< of 32 rows, that a column of an enlarged map takes
    int most_peaks = 0;  ///< of a map
    int most_bodies = 0;
    int cells = 0;

    uint32_t* marks = nullptr;        ///< maps × columns × words: a bit where a peak may be, lowest row first
    float* padded = nullptr;          ///< CPU: each search's cells
    uint8_t* high = nullptr;          ///< CPU: each search's
    Peak* found = nullptr;            ///< maps × cells: peaks far enough from each other, column by column
    Peak* peaks = nullptr;            ///< maps × most_peaks
    int32_t* peak_counts = nullptr;   ///< maps
    float* scores = nullptr;          ///< limbs × most_peaks (to) × most_peaks (from)
    Joint* joints = nullptr;          ///< limbs × most_peaks, best first
    int32_t* joint_counts = nullptr;  ///< limbs
    int32_t* owners = nullptr;        ///< maps × most_peaks: the pose that holds a peak, or -1
    int16_t* ids = nullptr;           ///< most_bodies × maps: the peak of a pose, or -1
    Body* bodies = nullptr;           ///< most_bodies
    float* finals = nullptr;          ///< most_bodies: final_score, or kNobody where it is not above the threshold
    int32_t* order = nullptr;         ///< CUDA: most_bodies, the poses that are kept, best first

    static constexpr int kMostSearches = 64;  ///< at the same time
    /// Rows of a search are padded to whole steps of kLanes cells, and on both sides.
    static constexpr int kLanes = 8, kPad = 8;

    Work() = default;
    Work(Planner& planner, const Topology& t, const Grid& grid, size_t images, bool on_cpu)
        : words((grid.rows() + 31) / 32),
          most_peaks(std::min(grid.cells(), kMostPeaks)),
          most_bodies(most_peaks * (t.limbs - t.filling)),
          cells(grid.cells()) {
        const auto take = [&](auto*& part, int a, int b, int c = 1) {
            part = planner.take<std::remove_reference_t<decltype(*part)>>(
                images * static_cast<size_t>(a) * static_cast<size_t>(b) * static_cast<size_t>(c));
        };
        take(marks, t.maps, grid.columns(), words);
        if (on_cpu) {
            const size_t searches = std::min(images * static_cast<size_t>(t.maps), size_t{kMostSearches});
            padded =
                planner.take<float>(searches * static_cast<size_t>(grid.height) * static_cast<size_t>(stride(grid)));
            high =
                planner.take<uint8_t>(searches * static_cast<size_t>(grid.height) * static_cast<size_t>(strips(grid)));
        }
        take(found, t.maps, cells);
        take(peaks, t.maps, most_peaks);
        take(peak_counts, t.maps, 1);
        take(scores, t.limbs, most_peaks, most_peaks);
        take(joints, t.limbs, most_peaks);
        take(joint_counts, t.limbs, 1);
        take(owners, t.maps, most_peaks);
        take(ids, most_bodies, t.maps);
        take(bodies, most_bodies, 1);
        take(finals, most_bodies, 1);
        if (!on_cpu) take(order, most_bodies, 1);
    }

    /// Numbers of a padded row that stands for one place of each cell.
    static int strips(const Grid& grid) { return (grid.width + kLanes - 1) / kLanes; }
    static int stride(const Grid& grid) { return strips(grid) * kLanes + 2 * kPad; }
    Search search(int slot, const Grid& grid) const {
        const auto height = static_cast<int64_t>(grid.height);
        return {of(marks, slot, static_cast<int64_t>(grid.columns()) * words), of(found, slot, cells),
                of(padded, slot, height * stride(grid)), of(high, slot, height * strips(grid))};
    }

    /// One image's part of an array of `each` elements an image.
    template <typename T>
    TRTPOSE_HD static T* of(T* first, int image, int64_t each) {
        return first + static_cast<int64_t>(image) * each;
    }
    TRTPOSE_HD int64_t pair_count() const { return static_cast<int64_t>(most_peaks) * most_peaks; }
};

/// What all steps need to know.
struct Job {
    Topology topology;
    Grid grid;
    Work work;
    Outputs outputs;

    template <typename T>
    TRTPOSE_HD const T* heatmap(int image, int map) const {
        return static_cast<const T*>(outputs.heatmaps) + image * outputs.heatmap_step +
               static_cast<int64_t>(map) * grid.cells();
    }
    template <typename T>
    TRTPOSE_HD const T* field(int image, int channel) const {
        return static_cast<const T*>(outputs.fields) + image * outputs.field_step +
               static_cast<int64_t>(channel) * grid.cells();
    }
    TRTPOSE_HD int64_t mark_words() const { return static_cast<int64_t>(grid.columns()) * work.words; }
};

/// How the poses leave.
struct Answer {
    const math::Letterbox* placements;
    int stride;
    float conf;
    int max_det;
    int32_t* counts;
    ops::PoseArrays poses;
};

void peaks_cpu(const Job& job, int images, ThreadPool* threads);
void joints_cpu(const Job& job, int images, ThreadPool* threads);
void poses_cpu(const Job& job, const Answer& answer, int images, ThreadPool* threads);

void peaks_cuda(const Job& job, int images, void* stream);
void joints_cuda(const Job& job, int images, void* stream);
void poses_cuda(const Job& job, const Answer& answer, int images, void* stream);

}  // namespace trtpose::openpose
