// SPDX-License-Identifier: Apache-2.0
// Limbs, and the poses they make.
#include "core/thread_pool.hpp"
#include "families/openpose/field_cpu.hpp"
#include "families/openpose/select.hpp"

namespace trtpose::openpose {
namespace {

Ends ends_of(const Job& job, int image, const Limb& limb) {
    const Work& work = job.work;
    const auto list = [&](int map) { return image * job.topology.maps + map; };
    const auto peaks = [&](int map) { return work.peaks + static_cast<ptrdiff_t>(list(map)) * work.most_peaks; };
    return {peaks(limb.from), peaks(limb.to), work.peak_counts[list(limb.from)], work.peak_counts[list(limb.to)]};
}

/// The best of a peak's pairs whose other end is free; `from` is -1 where there is none.
Joint best_of(const float* scores, const bool* taken, int from_count, int to) {
    Joint best{-1, static_cast<int16_t>(to), kNoLimb};
    for (int a = 0; a < from_count; ++a) {
        // Of equal ones the later.
        if (scores[a] > 0.0f && scores[a] >= best.score && !taken[a])
            best = {static_cast<int16_t>(a), static_cast<int16_t>(to), scores[a]};
    }
    return best;
}

/// Pairs in the order of their scores, each peak once; how many.
int join(const Ends& ends, const float* scores, int stride, Joint* joints) {
    bool taken[kMostPeaks] = {};
    Joint open[kMostPeaks];  // the best pair of each second peak that has one, in their order
    int open_count = 0, count = 0;
    for (int b = 0; b < ends.to_count; ++b) {
        open[open_count] = best_of(scores + b * stride, taken, ends.from_count, b);
        if (open[open_count].from >= 0) ++open_count;
    }
    while (open_count > 0) {
        const Joint* best = open;
        for (const Joint* one = open + 1; one < open + open_count; ++one) {
            if (better(one->score, one->to, one->from, best->score, best->to, best->from)) best = one;
        }
        const Joint chosen = joints[count++] = *best;
        taken[chosen.from] = true;
        int left = 0;
        for (int i = 0; i < open_count; ++i) {
            if (open[i].to == chosen.to) continue;
            Joint one = open[i];
            if (one.from == chosen.from) one = best_of(scores + one.to * stride, taken, ends.from_count, one.to);
            if (one.from >= 0) open[left++] = one;
        }
        open_count = left;
    }
    return count;
}

/// One image's poses while they are put together.
struct Assembly {
    const Job& job;
    const Peak* peaks;
    const Joint* joints;
    const int32_t* joint_counts;
    int32_t* owners;
    int16_t* ids;
    Body* bodies;
    int count = 0;

    Assembly(const Job& of, int image)
        : job(of),
          peaks(Work::of(of.work.peaks, image, static_cast<int64_t>(of.topology.maps) * of.work.most_peaks)),
          joints(Work::of(of.work.joints, image, static_cast<int64_t>(of.topology.limbs) * of.work.most_peaks)),
          joint_counts(Work::of(of.work.joint_counts, image, of.topology.limbs)),
          owners(Work::of(of.work.owners, image, static_cast<int64_t>(of.topology.maps) * of.work.most_peaks)),
          ids(Work::of(of.work.ids, image, static_cast<int64_t>(of.work.most_bodies) * of.topology.maps)),
          bodies(Work::of(of.work.bodies, image, of.work.most_bodies)) {}

    int32_t& owner(int map, int peak) const { return owners[map * job.work.most_peaks + peak]; }
    int16_t& id(int body, int map) const { return ids[body * job.topology.maps + map]; }
    float peak_score(int map, int peak) const { return peaks[map * job.work.most_peaks + peak].score; }

    void run() {
        std::fill_n(owners, job.topology.maps * job.work.most_peaks, -1);
        for (int l = 0; l < job.topology.limbs; ++l) {
            const Limb& limb = job.topology.limb[l];
            const bool filling = l >= job.topology.limbs - job.topology.filling;
            for (int i = 0; i < joint_counts[l]; ++i) {
                const Joint& joint = joints[l * job.work.most_peaks + i];
                filling ? fill(limb, joint) : grow(limb, joint);
            }
        }
    }

    /// The joint's second keypoint goes to the pose that holds its first; where none does a pose begins.
    void grow(const Limb& limb, const Joint& joint) {
        int body = owner(limb.from, joint.from);
        if (body < 0) {
            body = count++;
            std::fill_n(ids + body * job.topology.maps, job.topology.maps, int16_t{-1});
            id(body, limb.from) = joint.from;
            owner(limb.from, joint.from) = body;
            bodies[body] = {peak_score(limb.from, joint.from), 1};
        }
        id(body, limb.to) = joint.to;
        owner(limb.to, joint.to) = body;
        bodies[body].count += 1;
        bodies[body].score += peak_score(limb.to, joint.to) + joint.score;
    }

    bool disjoint(int a, int b) const {
        for (int m = 0; m < job.topology.maps; ++m) {
            if (id(a, m) >= 0 && id(b, m) >= 0) return false;
        }
        return true;
    }

    /// The joint's ends fill an empty place in the pose that holds the other; by our rules poses that have no keypoint
    /// in common become one.
    void fill(const Limb& limb, const Joint& joint) {
        const int first = owner(limb.from, joint.from), second = owner(limb.to, joint.to);
        if (first == second) return;
        if (!job.topology.reference && first >= 0 && second >= 0 && disjoint(first, second))
            return unite(first, second, joint.score);
        if (first >= 0 && id(first, limb.to) < 0) id(first, limb.to) = joint.to;
        if (second >= 0 && id(second, limb.from) < 0) id(second, limb.from) = joint.from;
    }

    void unite(int into, int gone, float score) {
        for (int m = 0; m < job.topology.maps; ++m) {
            if (id(gone, m) < 0) continue;
            id(into, m) = id(gone, m);
            if (int32_t& held_by = owner(m, id(gone, m)); held_by == gone) held_by = into;
        }
        bodies[into].score += bodies[gone].score + score;
        bodies[into].count += bodies[gone].count;
        bodies[gone].count = 0;
    }
};

/// Write the best max_det poses, best first; of equal ones the earlier.
void answer_image(const Assembly& made, float* finals, const Answer& answer, int image) {
    const Job& job = made.job;
    const math::Letterbox& place = answer.placements[image];
    const ToFrame frame(place, job.topology, answer.stride);
    const Bodies bodies{job.topology, made.ids, made.peaks, job.work.most_peaks};
    int passing = 0;
    for (int i = 0; i < made.count; ++i) {
        finals[i] = final_score(job.topology, made.bodies[i]);
        if (!(finals[i] > answer.conf)) finals[i] = kNobody;
        passing += finals[i] > kNobody ? 1 : 0;
    }
    for (int i = 0; i < made.count; ++i) {
        if (!(finals[i] > kNobody)) continue;
        int rank = 0;
        for (int j = 0; j < made.count; ++j) rank += finals[j] > finals[i] || (finals[j] == finals[i] && j < i) ? 1 : 0;
        if (rank >= answer.max_det) continue;
        const int64_t to = static_cast<int64_t>(image) * answer.max_det + rank;
        write_box(bodies, i, frame, place, finals[i], to, answer.poses);
        for (int k = 0; k < job.topology.keypoints; ++k) write_keypoint(bodies, i, k, frame, to, answer.poses);
    }
    answer.counts[image] = std::min(passing, answer.max_det);
}

}  // namespace

void joints_cpu(const Job& job, int images, ThreadPool* threads) {
    const Work& work = job.work;
    const int limbs = job.topology.limbs;
    parallel_for(threads, images * limbs, [&](int i) {
        const int image = i / limbs;
        const Limb& limb = job.topology.limb[i % limbs];
        const Ends ends = ends_of(job, image, limb);
        const auto* const x_plane = job.field<float>(image, limb.field);
        const auto* const y_plane = job.field<float>(image, limb.field + 1);
        // Mostly there are few, which stay near.
        constexpr int kFew = 1024;
        float few[kFew];
        const int from_count = ends.from_count;
        float* const scores = from_count * ends.to_count <= kFew ? few : work.scores + i * work.pair_count();
        score_pairs({job.grid, x_plane, y_plane}, ends, scores);
        work.joint_counts[i] =
            join(ends, scores, from_count, work.joints + static_cast<ptrdiff_t>(i) * work.most_peaks);
    });
}

void poses_cpu(const Job& job, const Answer& answer, int images, ThreadPool* threads) {
    parallel_for(threads, images, [&](int image) {
        Assembly assembly(job, image);
        assembly.run();
        answer_image(assembly, Work::of(job.work.finals, image, job.work.most_bodies), answer, image);
    });
}

}  // namespace trtpose::openpose
