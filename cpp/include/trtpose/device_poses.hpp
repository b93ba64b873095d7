// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "trtpose/types.hpp"

namespace trtpose {

/// The people in N frames, left in the memory of the device that found them, with room for `max_det` in each frame.
/// Coordinates, order and meaning are those of Poses; beyond a frame's count the numbers are unspecified.
///
/// The arrays belong to this object and its copies, not to the engine: later calls leave them alone, and they outlive
/// the engine. On CUDA they are written by `stream` and may not be there yet when the call returns: give the reading
/// work to that stream, or make another one wait(), or synchronize(). When the last copy goes, the memory serves later
/// calls: they write it after what `stream` and the streams that waited have been given until then.
class TRTPOSE_API DevicePoses {
public:
    /// What keeps the arrays alive and knows when they are there.
    struct Memory {
        virtual ~Memory();
        virtual void wait(void* stream) const = 0;
        virtual void synchronize() const = 0;
        virtual void share() const {}
    };

    Device device;
    int frames = 0;                 ///< N
    int max_det = 0;                ///< poses per frame at most
    int keypoints_per_pose = 0;     ///< K
    std::vector<Size> frame_sizes;  ///< height and width of each frame
    int32_t* counts = nullptr;      ///< N: poses in each frame
    float* boxes = nullptr;         ///< N × max_det × 4
    float* scores = nullptr;        ///< N × max_det
    int32_t* class_ids = nullptr;   ///< N × max_det
    float* keypoints = nullptr;     ///< N × max_det × K × 3
    void* stream = nullptr;  ///< the cudaStream_t that writes them, alive as long as this object; null on the CPU
    std::shared_ptr<Memory> memory;  ///< null when there are no frames

    /// What `stream` (a cudaStream_t; 1: the legacy default stream, 2: the thread's own default stream) is given from
    /// now on runs when the arrays are there. It must exist as long as this object and its copies, unless they are
    /// shared. Does not hold up the caller. Throws Error(device).
    void wait(void* other) const {
        if (memory) memory->wait(other);
    }
    /// Return when the arrays are there. Throws Error(device) if they never will be.
    void synchronize() const {
        if (memory) memory->synchronize();
    }
    /// Others read the arrays, on streams that did not wait() here or do not last: the memory is not used again but
    /// given back to the GPU when all its work is done, which takes longer.
    void share() const {
        if (memory) memory->share();
    }
};

}  // namespace trtpose
