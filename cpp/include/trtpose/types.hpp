// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "trtpose/export.hpp"

namespace trtpose {

/// A pointer and a count; the elements belong to somebody else.
template <typename T>
class Span {
public:
    constexpr Span() = default;
    constexpr Span(T* data, size_t size) : data_(data), size_(size) {}
    template <typename C, typename = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C&>().data()), T*>>>
    constexpr Span(C&& container) : data_(container.data()), size_(container.size()) {}  // NOLINT: implicit on purpose
    constexpr T* data() const { return data_; }
    constexpr size_t size() const { return size_; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr T& operator[](size_t i) const { return data_[i]; }
    constexpr T* begin() const { return data_; }
    constexpr T* end() const { return data_ + size_; }
    constexpr Span subspan(size_t first, size_t count) const { return {data_ + first, count}; }

private:
    T* data_ = nullptr;
    size_t size_ = 0;
};

enum class DeviceType : uint8_t { cpu, cuda };

struct Device {
    DeviceType type = DeviceType::cpu;
    int index = 0;
    bool operator==(const Device& other) const { return type == other.type && index == other.index; }
};

/// "cpu" or "cuda:0".
TRTPOSE_API std::string to_string(Device device);

enum class DType : uint8_t { u8, f16, f32, i32, i64, other };

/// Bytes of one element; 0 for DType::other.
TRTPOSE_API size_t size_of(DType dtype);
TRTPOSE_API const char* to_string(DType dtype);

/// Order of the three interleaved bytes of a pixel; or decoded video: a plane of luma bytes and, at half the width and
/// height, a plane of interleaved U and V bytes.
enum class PixelFormat : uint8_t { bgr, rgb, nv12 };

/// How the Y, U and V bytes of video stand for colours: ITU-R BT.601 or BT.709, limited range (luma 16 to 235) or full.
enum class YuvColor : uint8_t { bt601_limited, bt601_full, bt709_limited, bt709_full };

/// A caller's picture: height × width × 3 bytes, rows `stride` bytes apart (0: tightly packed, 3·width).
/// NV12: `data` is the luma plane (0: rows of `width` bytes) and `chroma` the other, (height + 1)/2 rows of (width +
/// 1)/2 pairs `chroma_stride` bytes apart; null: right behind the luma rows, at the same stride. The memory must stay
/// valid and unchanged until the call it is given to returns.
struct ImageView {
    const uint8_t* data = nullptr;
    int width = 0;
    int height = 0;
    ptrdiff_t stride = 0;
    PixelFormat format = PixelFormat::bgr;
    Device device = {};
    const uint8_t* chroma = nullptr;  ///< NV12 alone, as the two below
    ptrdiff_t chroma_stride = 0;
    YuvColor yuv = YuvColor::bt601_limited;
    /// On CUDA the stream that still writes the pixels (a cudaStream_t; 1: the legacy default stream, 2: the thread's
    /// own default stream), which the engine waits for; null: they are there.
    void* stream = nullptr;
};

/// Inputs of a network that are letterboxed and normalised already: N × 3 × height × width, dense.
struct InputView {
    const void* data = nullptr;
    int batch = 0;  ///< N
    int height = 0, width = 0;
    DType dtype = DType::f32;
    Device device = {};
    void* stream = nullptr;  ///< as in ImageView
};

/// A dense row-major tensor in somebody else's memory.
struct TensorView {
    void* data = nullptr;
    DType dtype = DType::f32;
    std::vector<int64_t> shape;
};

/// Height and width in pixels, in this order everywhere.
struct Size {
    int height = 0;
    int width = 0;
    bool operator==(const Size& other) const { return height == other.height && width == other.width; }
};

/// The people found in one frame, best score first. All coordinates are pixels of that frame: x to the right, y down,
/// (0, 0) the outer corner of the first pixel, so its centre is (0.5, 0.5).
struct Poses {
    int count = 0;                   ///< number of people, n
    int keypoints_per_pose = 0;      ///< K
    Size frame;                      ///< height and width of the frame
    std::vector<float> boxes;        ///< n × 4: x1, y1, x2, y2, clipped to the frame
    std::vector<float> scores;       ///< n: objectness × class, 0 to 1
    std::vector<int32_t> class_ids;  ///< n
    std::vector<float> keypoints;  ///< n × K × 3: x, y, confidence; not clipped, points outside the frame stay outside
};

}  // namespace trtpose
