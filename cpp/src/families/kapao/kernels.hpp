// SPDX-License-Identifier: Apache-2.0
// The twins. The scalar one is the specification.
#pragma once

#include "families/kapao/predictions.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::kapao {

/// Which anchors become candidates, and where they go: people and keypoint objects apart, or all in the first place.
struct Gates {
    float gate;          ///< what no objectness that passes lies below, as it is stored
    float conf;          ///< people are above it; together with them keypoint objects too
    float conf_objects;  ///< keypoint objects apart are above it
    bool together;
};

struct CandidateLists {
    ops::Candidates people;   ///< everybody where they are together
    ops::Candidates objects;  ///< empty where they are together
};

/// The anchors whose objectness and objectness × best class pass, their boxes shifted by class (kClassOffset).
void candidates_cpu(const Predictions& all, const Gates& gates, const CandidateLists& out, ThreadPool* threads);
void candidates_cuda(const Predictions& all, const Gates& gates, const CandidateLists& out, void* stream);

/// N × capacity × K × 3 in input pixels, for OKS.
void candidate_keypoints_cpu(const Predictions& all, const ops::Candidates& candidates, float* keypoints,
                             ThreadPool* threads);
void candidate_keypoints_cuda(const Predictions& all, const ops::Candidates& candidates, float* keypoints,
                              void* stream);

/// Divide what was kept together: people, and keypoint objects of a score of at least conf_objects.
void divide_cpu(const Gates& gates, const ops::Candidates& candidates, int batch, const ops::Detections& kept,
                const ops::Detections& people, const ops::Detections& objects);
void divide_cuda(const Gates& gates, const ops::Candidates& candidates, int batch, const ops::Detections& kept,
                 const ops::Detections& people, const ops::Detections& objects, void* stream);

/// What was kept of an image's candidates.
struct Chosen {
    ops::Candidates candidates;
    ops::Detections kept;
};

/// The poses of the people, with the keypoint objects fused in; at most `max_det` of each image are written.
struct PosesOut {
    int32_t* counts;  ///< N
    ops::PoseArrays arrays;
    int max_det;
};

void fuse_cpu(const Predictions& all, const Chosen& people, const Chosen& objects, const math::Letterbox* placements,
              const Fusion& fusion, const Points& points, const PosesOut& out, ThreadPool* threads);
void fuse_cuda(const Predictions& all, const Chosen& people, const Chosen& objects, const math::Letterbox* placements,
               const Fusion& fusion, const Points& points, const PosesOut& out, void* stream);

}  // namespace trtpose::kapao
