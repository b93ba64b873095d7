// SPDX-License-Identifier: Apache-2.0
// The twins on CUDA. Nothing depends on the order in which blocks, warps or threads run: marks are whole words that one
// warp writes, peaks are listed by one warp, joints chosen by one block, poses put together by one warp.
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"

namespace trtpose::openpose {
using kernels::to_float;  // before the formulas that are to find it
}

#include "families/openpose/select.hpp"

namespace trtpose::openpose {
namespace {

using kernels::kAllLanes;
using kernels::kWarp;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

/// A warp for 32 rows of a column of an enlarged map; a bit for each that may be a peak.
template <typename T>
__global__ void __launch_bounds__(kThreads) mark_peaks_kernel(const __grid_constant__ Job job) {
    const int maps = job.topology.maps, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t word = static_cast<int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    if (word >= job.mark_words()) return;
    const int list = static_cast<int>(blockIdx.y), image = list / maps;
    const int x = static_cast<int>(word / job.work.words), y = static_cast<int>(word % job.work.words) * kWarp + lane;
    bool marked = false;
    if (y < job.grid.rows()) {
        const T* const plane = job.heatmap<T>(image, list % maps);
        const auto at = [&](int px, int py) {
            return px < 0 || py < 0 || px >= job.grid.columns() || py >= job.grid.rows()
                       ? 0.0f
                       : enlarged(job.grid, plane, px, py);
        };
        const float v = at(x, y);
        if (v >= kLeastScore) {
            const Peakness found = judge(v, at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1));
            marked = found == Peakness::strict || (found == Peakness::level && !job.topology.reference);
        }
    }
    const unsigned bits = __ballot_sync(kAllLanes, marked);
    if (lane == 0) job.work.marks[list * job.mark_words() + word] = bits;
}

/// Whether a peak is too near to one of those before it; the same in all lanes.
__device__ bool crowded(const Peak* found, int count, const Peak& peak, int lane) {
    // Columns rise, so that those at the end are the near ones.
    for (int last = count; last > 0; last -= kWarp) {
        const int i = last - 1 - lane;
        if (__any_sync(kAllLanes, i >= 0 && too_near(found[i >= 0 ? i : 0], peak))) return true;
    }
    return false;
}

/// The highest of more than there is room for, in their order; how many.
__device__ int keep_highest(const Peak* found, int count, int room, Peak* peaks, int lane) {
    int kept = 0;
    for (int first = 0; first < count; first += kWarp) {
        const int i = first + lane;
        bool keep = i < count;
        if (count > room && keep) {
            int higher = 0;
            for (int j = 0; j < count; ++j) higher += outranks(found[j], j, found[i], i) ? 1 : 0;
            keep = higher < room;
        }
        const unsigned keeping = __ballot_sync(kAllLanes, keep);
        if (keep) peaks[kept + __popc(keeping & ((1u << lane) - 1))] = found[i];
        kept += __popc(keeping);
    }
    return kept;
}

/// A warp for each map: the peaks among those marked, column by column, without those too near to an earlier one.
template <typename T>
__global__ void __launch_bounds__(kWarp) list_peaks_kernel(const __grid_constant__ Job job) {
    const int maps = job.topology.maps, lane = static_cast<int>(threadIdx.x), list = static_cast<int>(blockIdx.x);
    const T* const plane = job.heatmap<T>(list / maps, list % maps);
    const uint32_t* const marks = job.work.marks + list * job.mark_words();
    Peak* const found = job.work.found + static_cast<int64_t>(list) * job.work.cells;
    int count = 0;
    for (int64_t first = 0; first < job.mark_words(); first += kWarp) {
        const int64_t own = first + lane;
        uint32_t bits = own < job.mark_words() ? marks[own] : 0;
        while (const unsigned holding = __ballot_sync(kAllLanes, bits != 0)) {
            const int holder = __ffs(static_cast<int>(holding)) - 1;
            const int bit = __ffs(static_cast<int>(__shfl_sync(kAllLanes, bits, holder))) - 1;
            if (lane == holder) bits &= bits - 1;
            const int64_t word = first + holder;
            Peak peak{};
            if (!find_peak(job.grid, plane, static_cast<int>(word / job.work.words),
                           static_cast<int>(word % job.work.words) * kWarp + bit, job.topology.reference, &peak))
                continue;
            if (crowded(found, count, peak, lane) || count >= job.work.cells) continue;
            if (lane == 0) found[count] = peak;
            ++count;
            __syncwarp();
        }
    }
    const int kept = keep_highest(found, count, job.work.most_peaks,
                                  job.work.peaks + static_cast<int64_t>(list) * job.work.most_peaks, lane);
    if (lane == 0) job.work.peak_counts[list] = kept;
}

/// A limb's two lists of peaks.
struct Ends {
    const Peak *from, *to;
    int from_count, to_count;
};

__device__ Ends ends_of(const Job& job, int image, const Limb& limb) {
    const int first = image * job.topology.maps;
    const Peak* const peaks = job.work.peaks + static_cast<int64_t>(first) * job.work.most_peaks;
    return {peaks + limb.from * job.work.most_peaks, peaks + limb.to * job.work.most_peaks,
            job.work.peak_counts[first + limb.from], job.work.peak_counts[first + limb.to]};
}

/// A block for 1/gridDim.z of a limb's pairs.
template <typename T>
__global__ void __launch_bounds__(kThreads) score_limbs_kernel(const __grid_constant__ Job job) {
    const int limbs = job.topology.limbs, image = static_cast<int>(blockIdx.y);
    const int l = static_cast<int>(blockIdx.x);
    const Limb limb = job.topology.limb[l];
    const Ends ends = ends_of(job, image, limb);
    const T* const x_plane = job.field<T>(image, limb.field);
    const T* const y_plane = job.field<T>(image, limb.field + 1);
    float* const scores = job.work.scores + (static_cast<int64_t>(image) * limbs + l) * job.work.pair_count();
    const int pairs = ends.from_count * ends.to_count, step = static_cast<int>(gridDim.z) * kThreads;
    for (int i = static_cast<int>(blockIdx.z) * kThreads + static_cast<int>(threadIdx.x); i < pairs; i += step) {
        const int b = i / ends.from_count, a = i - b * ends.from_count;
        scores[b * job.work.most_peaks + a] = limb_score(job.grid, x_plane, y_plane, ends.from[a], ends.to[b]);
    }
}

/// Rising with the score, then with `to`, then with `from`. Scores are positive, so their bits order as they do.
__device__ uint64_t key_of(float score, int to, int from) {
    return static_cast<uint64_t>(__float_as_uint(score)) << 32 | static_cast<uint32_t>(to) << 16 |
           static_cast<uint32_t>(from);
}

constexpr int kJoinThreads = kMostPeaks;
constexpr int kJoinWarps = kJoinThreads / kWarp;

/// The greatest key of the block's; the same in all threads. `shared` has a place for each warp.
__device__ uint64_t block_max(uint64_t key, unsigned long long* shared, int thread) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const uint64_t other = __shfl_xor_sync(kAllLanes, key, step);
        key = other > key ? other : key;
    }
    __syncthreads();  // what was there before has been read
    if (thread % kWarp == 0) shared[thread / kWarp] = key;
    __syncthreads();
    uint64_t best = 0;
    for (int i = 0; i < kJoinWarps; ++i) best = shared[i] > best ? shared[i] : best;
    return best;
}

/// A block for each limb, a thread for each second end: the best pair whose ends are free, again and again.
__global__ void __launch_bounds__(kJoinThreads) join_limbs_kernel(const __grid_constant__ Job job) {
    TRTPOSE_SHARED(unsigned long long, best_keys, kJoinWarps);
    const int limbs = job.topology.limbs, image = static_cast<int>(blockIdx.y), l = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x);
    const Ends ends = ends_of(job, image, job.topology.limb[l]);
    const int64_t at = static_cast<int64_t>(image) * limbs + l;
    float* const scores = job.work.scores + at * job.work.pair_count() + thread * job.work.most_peaks;
    Joint* const joints = job.work.joints + at * job.work.most_peaks;
    int count = 0;
    bool free = thread < ends.to_count, stale = free;
    uint64_t own = 0;
    while (true) {
        if (stale) {
            own = 0;
            for (int a = 0; a < ends.from_count; ++a) {
                if (!(scores[a] > 0.0f)) continue;
                const uint64_t key = key_of(scores[a], thread, a);
                own = key > own ? key : own;
            }
        }
        const uint64_t best = block_max(free ? own : 0, best_keys, thread);
        if (best == 0) break;
        const int to = static_cast<int>(best >> 16 & 0xFFFF), from = static_cast<int>(best & 0xFFFF);
        if (thread == 0)
            joints[count] = {static_cast<int16_t>(from), static_cast<int16_t>(to),
                             __uint_as_float(static_cast<uint32_t>(best >> 32))};
        ++count;
        free = free && thread != to;
        stale = free && own != 0 && static_cast<int>(own & 0xFFFF) == from;
        if (free) scores[from] = kNoLimb;
    }
    if (thread == 0) job.work.joint_counts[at] = count;
}

/// One image's poses while a warp puts them together.
struct Assembly {
    const Job& job;
    const Peak* peaks;
    int32_t* owners;
    int16_t* ids;
    Body* bodies;
    int count;

    __device__ Assembly(const Job& of, int image)
        : job(of),
          peaks(Work::of(of.work.peaks, image, static_cast<int64_t>(of.topology.maps) * of.work.most_peaks)),
          owners(Work::of(of.work.owners, image, static_cast<int64_t>(of.topology.maps) * of.work.most_peaks)),
          ids(Work::of(of.work.ids, image, static_cast<int64_t>(of.work.most_bodies) * of.topology.maps)),
          bodies(Work::of(of.work.bodies, image, of.work.most_bodies)),
          count(0) {}

    __device__ int32_t& owner(int map, int peak) const { return owners[map * job.work.most_peaks + peak]; }
    __device__ int16_t& id(int body, int map) const { return ids[body * job.topology.maps + map]; }
    __device__ float peak_score(int map, int peak) const { return peaks[map * job.work.most_peaks + peak].score; }

    /// A lane for each joint: no two share an end, so that only the numbers of new poses depend on each other.
    __device__ void grow(const Limb& limb, const Joint* joints, int joint_count, int lane) {
        for (int first = 0; first < joint_count; first += kWarp) {
            const bool own = first + lane < joint_count;
            const Joint joint = own ? joints[first + lane] : Joint{};
            int body = own ? owner(limb.from, joint.from) : 0;
            const bool begins = own && body < 0;
            const unsigned beginning = __ballot_sync(kAllLanes, begins);
            if (begins) {
                body = count + __popc(beginning & ((1u << lane) - 1));
                for (int m = 0; m < job.topology.maps; ++m) id(body, m) = -1;
                id(body, limb.from) = joint.from;
                owner(limb.from, joint.from) = body;
                bodies[body] = {peak_score(limb.from, joint.from), 1};
            }
            if (own) {
                id(body, limb.to) = joint.to;
                owner(limb.to, joint.to) = body;
                bodies[body].count += 1;
                bodies[body].score += peak_score(limb.to, joint.to) + joint.score;
            }
            count += __popc(beginning);
        }
        __syncwarp();
    }

    /// Whether two poses have no keypoint in common; the same in all lanes.
    __device__ bool disjoint(int a, int b, int lane) const {
        bool shared = false;
        for (int m = lane; m < job.topology.maps; m += kWarp) shared = shared || (id(a, m) >= 0 && id(b, m) >= 0);
        return !__any_sync(kAllLanes, shared);
    }

    /// One joint that fills empty places, or by our rules makes two poses one.
    __device__ void fill(const Limb& limb, const Joint& joint, int lane) {
        const int first = owner(limb.from, joint.from), second = owner(limb.to, joint.to);
        if (first == second) return;
        const bool unites = !job.topology.reference && first >= 0 && second >= 0 && disjoint(first, second, lane);
        if (unites) {
            unite(first, second, joint.score, lane);
        } else if (lane == 0) {
            if (first >= 0 && id(first, limb.to) < 0) id(first, limb.to) = joint.to;
            if (second >= 0 && id(second, limb.from) < 0) id(second, limb.from) = joint.from;
        }
        __syncwarp();
    }

    __device__ void unite(int into, int gone, float score, int lane) const {
        for (int m = lane; m < job.topology.maps; m += kWarp) {
            const int16_t peak = id(gone, m);
            if (peak < 0) continue;
            id(into, m) = peak;
            if (owner(m, peak) == gone) owner(m, peak) = into;
        }
        if (lane == 0) {
            bodies[into].score += bodies[gone].score + score;
            bodies[into].count += bodies[gone].count;
            bodies[gone].count = 0;
        }
    }
};

/// Which poses are kept, best first; how many goes to the image's count.
__device__ void rank(const Assembly& made, int count, float conf, int max_det, int image, int32_t* kept_count,
                     int thread) {
    TRTPOSE_SHARED(int, passing, 1);
    const Work& work = made.job.work;
    float* const finals = Work::of(work.finals, image, work.most_bodies);
    int32_t* const order = Work::of(work.order, image, work.most_bodies);
    if (thread == 0) *passing = 0;
    __syncthreads();
    for (int i = thread; i < count; i += kThreads) {
        float score = final_score(made.job.topology, made.bodies[i]);
        if (!(score > conf)) score = kNobody;
        if (score > kNobody) atomicAdd(passing, 1);
        finals[i] = score;
    }
    __syncthreads();
    for (int i = thread; i < count; i += kThreads) {
        if (!(finals[i] > kNobody)) continue;
        int better_ones = 0;
        for (int j = 0; j < count; ++j)
            better_ones += finals[j] > finals[i] || (finals[j] == finals[i] && j < i) ? 1 : 0;
        order[better_ones] = i;
    }
    if (thread == 0) *kept_count = *passing < max_det ? *passing : max_det;
}

/// A block for each image; its first warp puts the poses together.
__global__ void __launch_bounds__(kThreads, 1)
    assemble_bodies_kernel(const __grid_constant__ Job job, float conf, int max_det, int32_t* counts) {
    TRTPOSE_SHARED(int, made_count, 1);
    const int image = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const Topology& topology = job.topology;
    Assembly assembly(job, image);
    for (int i = thread; i < topology.maps * job.work.most_peaks; i += kThreads) assembly.owners[i] = -1;
    __syncthreads();
    if (thread < kWarp) {
        for (int l = 0; l < topology.limbs; ++l) {
            const int64_t at = static_cast<int64_t>(image) * topology.limbs + l;
            const Joint* const joints = job.work.joints + at * job.work.most_peaks;
            const int joint_count = job.work.joint_counts[at];
            if (l < topology.limbs - topology.filling) {
                assembly.grow(topology.limb[l], joints, joint_count, thread);
                continue;
            }
            for (int i = 0; i < joint_count; ++i) assembly.fill(topology.limb[l], joints[i], thread);
        }
        if (thread == 0) *made_count = assembly.count;
    }
    __syncthreads();
    rank(assembly, *made_count, conf, max_det, image, counts + image, thread);
}

/// A thread for each keypoint of each kept pose, and one for the rest of it.
__global__ void __launch_bounds__(kThreads)
    write_bodies_kernel(const __grid_constant__ Job job, const __grid_constant__ Answer answer) {
    const int image = static_cast<int>(blockIdx.y), parts = job.topology.keypoints + 1;
    const int thread = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int pose = thread / parts, part = thread % parts;
    if (pose >= answer.counts[image]) return;
    const Work& work = job.work;
    const int64_t lists = static_cast<int64_t>(job.topology.maps) * work.most_peaks;
    const int64_t all_ids = static_cast<int64_t>(work.most_bodies) * job.topology.maps;
    const Bodies bodies{job.topology, Work::of(work.ids, image, all_ids), Work::of(work.peaks, image, lists),
                        work.most_peaks};
    const math::Letterbox& place = answer.placements[image];
    const ToFrame frame(place, job.topology, answer.stride);
    const int body = Work::of(work.order, image, work.most_bodies)[pose];
    const int64_t to = static_cast<int64_t>(image) * answer.max_det + pose;
    if (part == job.topology.keypoints) {
        write_box(bodies, body, frame, place, Work::of(work.finals, image, work.most_bodies)[body], to, answer.poses);
    } else {
        write_keypoint(bodies, body, part, frame, to, answer.poses);
    }
}

/// body(T()) with the type of the maps' numbers.
template <typename Body>
void with_dtype(const Job& job, Body&& body) {
    if (job.outputs.half) {
        body(__half());
    } else {
        body(float());
    }
}

}  // namespace

void peaks_cuda(const Job& job, int images, void* stream) {
    if (images == 0) return;
    const auto lists = static_cast<unsigned>(images * job.topology.maps);
    const dim3 grid(static_cast<unsigned>((job.mark_words() + kWarps - 1) / kWarps), lists);
    with_dtype(job, [&](auto type) {
        auto* const mark = &mark_peaks_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(mark, grid, kThreads, 0, stream, job);
        cuda_check_launch("the search for peaks");
        auto* const list = &list_peaks_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(list, lists, kWarp, 0, stream, job);
    });
    cuda_check_launch("the list of peaks");
}

void joints_cuda(const Job& job, int images, void* stream) {
    if (images == 0) return;
    // How many pairs there are is known on the device alone: blocks for some hundred, which go on in steps.
    constexpr unsigned kParts = 4;
    const dim3 limbs(static_cast<unsigned>(job.topology.limbs), static_cast<unsigned>(images));
    with_dtype(job, [&](auto type) {
        auto* const score = &score_limbs_kernel<decltype(type)>;
        TRTPOSE_LAUNCH(score, dim3(limbs.x, limbs.y, kParts), kThreads, 0, stream, job);
    });
    cuda_check_launch("the scores of limbs");
    TRTPOSE_LAUNCH(join_limbs_kernel, limbs, kJoinThreads, 0, stream, job);
    cuda_check_launch("the choice of limbs");
}

void poses_cuda(const Job& job, const Answer& answer, int images, void* stream) {
    if (images == 0) return;
    TRTPOSE_LAUNCH(assemble_bodies_kernel, static_cast<unsigned>(images), kThreads, 0, stream, job, answer.conf,
                   answer.max_det, answer.counts);
    cuda_check_launch("the poses of maps");
    const int parts = std::min(answer.max_det, job.work.most_bodies) * (job.topology.keypoints + 1);
    const dim3 grid(static_cast<unsigned>((parts + kThreads - 1) / kThreads), static_cast<unsigned>(images));
    TRTPOSE_LAUNCH(write_bodies_kernel, grid, kThreads, 0, stream, job, answer);
    cuda_check_launch("the results of maps");
}

}  // namespace trtpose::openpose
