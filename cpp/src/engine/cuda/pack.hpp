// SPDX-License-Identifier: Apache-2.0
// Copies frames of the host, row behind row, into the memory that a GPU reads.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/thread_pool.hpp"
#include "trtpose/types.hpp"

namespace trtpose::engine {

// Bytes a thread copies at a time, and from how many on waking others pays.
inline constexpr size_t kCopyPart = size_t{256} << 10, kWorthThreads = size_t{1} << 20;

/// body(first, last) for parts of [0, count) whose elements are of `bytes_each`, by several threads where that pays.
template <typename Body>
void in_parts(ThreadPool& threads, size_t count, size_t bytes_each, Body&& body) {
    const size_t bytes = count * bytes_each;
    const size_t parts = bytes < kWorthThreads || threads.size() == 1 ? 1 : bytes / kCopyPart;
    if (parts <= 1) return body(size_t{0}, count);
    threads.run(static_cast<int>(parts), [&](int i) {
        const auto part = static_cast<size_t>(i);
        body(count * part / parts, count * (part + 1) / parts);
    });
}

/// Bytes of a frame without what pads its rows.
inline size_t packed_bytes(const ImageView& frame) {
    const auto width = static_cast<size_t>(frame.width), height = static_cast<size_t>(frame.height);
    if (frame.format != PixelFormat::nv12) return 3 * width * height;
    return width * height + (width + 1) / 2 * 2 * ((height + 1) / 2);
}

/// Frames are added one by one and copied together.
class Packer {
public:
    /// A frame that is to be packed at `to`; returns it as it will be at `there` on device `where`.
    ImageView add(const ImageView& frame, char* to, const char* there, Device where) {
        const auto width = static_cast<size_t>(frame.width), height = static_cast<size_t>(frame.height);
        const bool nv12 = frame.format == PixelFormat::nv12;
        const size_t row = nv12 ? width : 3 * width;
        const ptrdiff_t stride = frame.stride ? frame.stride : static_cast<ptrdiff_t>(row);
        ImageView packed = frame;
        packed.data = reinterpret_cast<const uint8_t*>(there);
        packed.stride = static_cast<ptrdiff_t>(row);
        packed.device = where;
        add_rows(frame.data, stride, row, height, to);
        if (nv12) {
            const size_t pairs = (width + 1) / 2 * 2;
            const uint8_t* chroma = frame.chroma ? frame.chroma : frame.data + stride * static_cast<ptrdiff_t>(height);
            const ptrdiff_t chroma_stride =
                frame.chroma_stride ? frame.chroma_stride : std::max(stride, static_cast<ptrdiff_t>(pairs));
            add_rows(chroma, chroma_stride, pairs, (height + 1) / 2, to + row * height);
            packed.chroma = packed.data + row * height;
            packed.chroma_stride = static_cast<ptrdiff_t>(pairs);
        }
        return packed;
    }

    /// Copy what was added.
    void copy(ThreadPool& threads) {
        const auto copy_one = [this](int i) {
            const Rows& rows = parts_[static_cast<size_t>(i)];
            if (rows.stride == static_cast<ptrdiff_t>(rows.bytes)) {
                std::memcpy(rows.to, rows.from, rows.bytes * rows.count);
                return;
            }
            for (size_t y = 0; y < rows.count; ++y)
                std::memcpy(rows.to + y * rows.bytes, rows.from + static_cast<ptrdiff_t>(y) * rows.stride, rows.bytes);
        };
        parallel_for(bytes_ < kWorthThreads ? nullptr : &threads, static_cast<int>(parts_.size()), copy_one);
        parts_.clear();
        bytes_ = 0;
    }

private:
    struct Rows {
        const uint8_t* from;
        ptrdiff_t stride;
        size_t bytes, count;
        char* to;
    };

    void add_rows(const uint8_t* from, ptrdiff_t stride, size_t bytes, size_t count, char* to) {
        const size_t at_once = std::max<size_t>(kCopyPart / bytes, 1);
        for (size_t y = 0; y < count; y += at_once)
            parts_.push_back({from + static_cast<ptrdiff_t>(y) * stride, stride, bytes, std::min(at_once, count - y),
                              to + y * bytes});
        bytes_ += bytes * count;
    }

    std::vector<Rows> parts_;
    size_t bytes_ = 0;
};

}  // namespace trtpose::engine
