// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "model/byte_source.hpp"

namespace trtpose {

/// What is wrong with a file that cannot be what it should be.
struct Damaged {
    std::string what;
};

/// The fields of one protobuf message, walked in place. Stricter than protobuf's own readers: what it takes they take,
/// and read the same.
class Message {
public:
    explicit Message(ByteSource& source) : Message(source, 0, source.size()) {}

    /// Advance to the next field; false at the end.
    bool next() {
        if (at_ == end_) return false;
        key_at = at_;
        const uint64_t key = varint();
        // Readers of protobuf look at 32 bits of it.
        if (key >> 32) throw Damaged{"a field of impossible number"};
        field = static_cast<int>(key >> 3);
        wire = static_cast<int>(key & 7);
        if (field == 0) throw Damaged{"a field without a number"};
        length_at = at_;
        switch (wire) {
            case 0: number = varint(); break;
            case 1: skip(8); break;
            case 2: skip(varint()); break;
            case 5: skip(4); break;
            default: throw Damaged{"a field of unknown type"};
        }
        return true;
    }

    Message message() const {
        if (wire != 2) throw Damaged{"a number where a message belongs"};
        return {*source_, begin, at_};
    }
    std::string string() const {
        if (wire != 2) throw Damaged{"a number where a text belongs"};
        return source_->text(begin, at_ - begin);
    }
    int64_t integer() const {
        if (wire != 0) throw Damaged{"a text where a number belongs"};
        return static_cast<int64_t>(number);
    }
    /// Values of a repeated integer field, packed or one by one.
    template <typename F>
    void integers(F&& each) const {
        if (wire == 0) {
            each(static_cast<int64_t>(number));
            return;
        }
        Message packed = message();
        while (packed.at_ != packed.end_) each(static_cast<int64_t>(packed.varint()));
    }
    uint64_t size() const { return end_ - start_; }  ///< of the whole message
    uint64_t end() const { return end_; }

    int field = 0, wire = 0;
    uint64_t number = 0;
    uint64_t key_at = 0, length_at = 0, begin = 0;  ///< where the field, its length and its content begin
    uint64_t field_end() const { return at_; }

private:
    Message(ByteSource& source, uint64_t start, uint64_t end)
        : source_(&source), start_(start), at_(start), end_(end) {}

    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            if (at_ == end_) throw Damaged{"the file ends in the middle of a number"};
            const unsigned char byte = source_->at(at_++);
            value |= static_cast<uint64_t>(byte & 0x7F) << shift;
            if (!(byte & 0x80)) return value;
        }
        throw Damaged{"a number longer than 64 bits"};
    }
    void skip(uint64_t count) {
        if (count > end_ - at_) throw Damaged{"a part that is longer than the file"};
        begin = at_;
        at_ += count;
    }

    ByteSource* source_;
    uint64_t start_, at_, end_;
};

}  // namespace trtpose
