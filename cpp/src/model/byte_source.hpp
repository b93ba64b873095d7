// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "model/regular_file.hpp"

namespace trtpose {

/// Bytes that are looked at piece by piece: of memory, or of a file, of which only the pages that are looked at are
/// read. These are kept, so that whatever was seen once is what everybody sees, whoever writes to the file. Positions
/// must lie inside.
class ByteSource {
public:
    explicit ByteSource(std::string_view memory) : size_(memory.size()), seen_(memory) {}
    explicit ByteSource(const RegularFile& file) : file_(&file), size_(file.size()) {}
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;

    uint64_t size() const { return size_; }
    unsigned char at(uint64_t position) {
        if (position - begin_ >= seen_.size()) look_at(position);
        return static_cast<unsigned char>(seen_[position - begin_]);
    }
    std::string text(uint64_t position, uint64_t count) {
        std::string out;
        out.reserve(count);
        while (count > 0) {
            at(position);
            const auto part = seen_.substr(position - begin_, count);
            out += part;
            position += part.size();
            count -= part.size();
        }
        return out;
    }
    /// Call `use` with the bytes from `position` to the end, part by part.
    template <typename F>
    void each_part(uint64_t position, F&& use) const {
        for (std::string part; position < size_; position += part.size()) {
            part.resize(std::min<uint64_t>(size_ - position, 1 << 20));
            copy(position, part.data(), part.size());
            use(std::string_view(part));
        }
    }
    /// Copy a part without keeping what was not looked at before.
    void copy(uint64_t position, char* to, uint64_t count) const {
        if (!file_) {
            std::copy_n(seen_.data() + position, count, to);
            return;
        }
        while (count > 0) {
            const auto page = pages_.upper_bound(position);
            uint64_t part = page == pages_.end() ? count : std::min(count, page->first - position);
            const auto* held = page == pages_.begin() ? nullptr : &std::prev(page)->second;
            const uint64_t inside = held ? position - std::prev(page)->first : 0;
            if (held && inside < held->size()) {
                part = std::min(part, held->size() - inside);
                std::copy_n(held->data() + inside, part, to);
            } else {
                file_->read(position, to, part);
            }
            to += part;
            position += part;
            count -= part;
        }
    }

private:
    static constexpr uint64_t kPage = 1 << 12;

    void look_at(uint64_t position) {
        begin_ = position / kPage * kPage;
        std::string& page = pages_[begin_];
        if (page.empty()) {
            page.resize(std::min(size_ - begin_, kPage));
            file_->read(begin_, page.data(), page.size());
        }
        seen_ = page;
    }

    const RegularFile* file_ = nullptr;
    uint64_t size_ = 0, begin_ = 0;
    std::string_view seen_;
    std::map<uint64_t, std::string> pages_;  ///< of a file, by where they begin
};

}  // namespace trtpose
