// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/kept_network.hpp"

#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <streambuf>
#include <string_view>

#include "backends/openvino/own_build.hpp"
#include "core/check.hpp"
#include "core/sha256.hpp"
#include "core/thread_pool.hpp"
#include "trtpose/version.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace trtpose::openvino {
namespace {

// Of what is in the files; another one begins anew.
constexpr const char* kForm = "trtpose network 4";
// Compiling smaller networks takes a tenth of a second.
constexpr int64_t kWorthIt = int64_t{4} << 20;
constexpr uint64_t kMostMebibytes = 2048;
// More threads than these wait for the one that reads, and each holds a part of what is read.
constexpr int kMostThreads = 16;
constexpr size_t kPart = size_t{1} << 22;  ///< of a file that is read
constexpr size_t kPage = 4096;             ///< what OpenVINO made begins at a multiple, so that its weights are aligned

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

/// Whether a network with so many bytes of weights is kept.
bool asked_for(int64_t weight_bytes) {
    const std::string value = variable("TRTPOSE_MODEL_CACHE");
    require(value.empty() || value == "on" || value == "off" || value == "all", ErrorCode::input,
            "TRTPOSE_MODEL_CACHE '", value,
            "': use off to keep no compiled networks, all to keep small ones as well, or leave it out");
    if (value == "off") return false;
    return value == "all" || weight_bytes >= kWorthIt;
}

uint64_t most_bytes() {
    const std::string value = variable("TRTPOSE_MODEL_CACHE_MIB");
    if (value.empty()) return kMostMebibytes << 20;
    require(value.size() < 10 && value.find_first_not_of("0123456789") == value.npos, ErrorCode::input,
            "TRTPOSE_MODEL_CACHE_MIB '", value, "': give a whole number of mebibytes, such as ", kMostMebibytes);
    return std::stoull(value) << 20;
}

bool fixed_size(const ModelFile& file) {
    if (file.inputs.size() != 1 || file.inputs[0].shape.size() != 4) return false;
    const auto& shape = file.inputs[0].shape;
    return std::all_of(shape.begin(), shape.end(), [](int64_t side) { return side > 0; });
}

/// What the processor can do, of which its name alone says nothing in a virtual machine.
void add_processor(std::ostream& out) {
#if defined(__x86_64__)
    constexpr unsigned kLeaves[][2] = {{0, 0}, {1, 0}, {7, 0}, {7, 1}, {0xD, 0}, {0x1D, 0}, {0x24, 0}};
    for (const auto& leaf : kLeaves) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        if (!__get_cpuid_count(leaf[0], leaf[1], &a, &b, &c, &d)) continue;
        if (leaf[0] == 1) b &= 0x0000FF00;  // the rest is the number of the core that is asked
        out << a << ' ' << b << ' ' << c << ' ' << d << '\n';
    }
#endif
    out << ::getauxval(AT_HWCAP) << ' ' << ::getauxval(AT_HWCAP2) << '\n';
}

/// This module as it was built: what it changes in a network may differ from that of another one.
void add_module(std::ostream& out) {
    const std::string build = own_build();
    Dl_info info{};
    struct stat status{};
    if (!build.empty()) {
        out << hexadecimal(sha256(build));
    } else if (::dladdr(reinterpret_cast<const void*>(&fixed_size), &info) && info.dli_fname &&
               ::stat(info.dli_fname, &status) == 0) {
        out << status.st_size << ' ' << status.st_mtim.tv_sec << ' ' << status.st_mtim.tv_nsec;
    }
    out << '\n';
}

int digest_threads() { return std::min(ThreadPool::available(), kMostThreads); }

Digest content_digest(OnnxContent& content) {
    ThreadPool pool(digest_threads());
    return digest_of(
        content.size(),
        [&content](uint64_t offset, char* room, size_t count) {
            content.read(offset, room, count);
            return room;
        },
        pool);
}

std::string name_of(OnnxContent& content, const ov::AnyMap& config, ov::Core& core) {
    std::ostringstream key;
    key << kForm << '\n' << version() << '\n' << ov::get_openvino_version().buildNumber << '\n';
    add_module(key);
    key << core.get_property("CPU", ov::device::full_name) << '\n';
    for (const std::string& ability : core.get_property("CPU", ov::device::capabilities)) key << ability << ' ';
    key << '\n';
    add_processor(key);
    key << ThreadPool::available() << '\n';
    for (const auto& [name, value] : config) key << name << '=' << value.as<std::string>() << '\n';
    for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) key << variable(name) << '\n';
    key << content.size() << '\n' << hexadecimal(content_digest(content)) << '\n';
    return hexadecimal(sha256(key.str())) + ".network";
}

// --- The file: sum of all that follows, kForm, length of the facts and of what OpenVINO made, the facts, from the
// next page on what OpenVINO made.

class FactWriter {
public:
    void number(int64_t value) { out_.append(reinterpret_cast<const char*>(&value), sizeof value); }
    void words(const std::string& value) {
        number(static_cast<int64_t>(value.size()));
        out_ += value;
    }
    void shape(const std::vector<int64_t>& value) {
        number(static_cast<int64_t>(value.size()));
        for (const int64_t side : value) number(side);
    }
    void tensor(const TensorInfo& value) {
        words(value.name);
        number(static_cast<int64_t>(value.dtype));
        shape(value.shape);
    }
    std::string take() { return std::move(out_); }

private:
    std::string out_;
};

/// Throws std::out_of_range where the bytes end before.
class FactReader {
public:
    explicit FactReader(std::string_view bytes) : bytes_(bytes) {}

    int64_t number() {
        int64_t value = 0;
        const std::string_view part = take(sizeof value);
        std::memcpy(&value, part.data(), sizeof value);
        return value;
    }
    size_t count() {
        const int64_t value = number();
        if (value < 0 || static_cast<uint64_t>(value) > bytes_.size()) throw std::out_of_range("count");
        return static_cast<size_t>(value);
    }
    std::string words() { return std::string(take(count())); }
    std::vector<int64_t> shape() {
        std::vector<int64_t> out(count());
        for (int64_t& side : out) side = number();
        return out;
    }
    TensorInfo tensor() {
        TensorInfo out;
        out.name = words();
        out.dtype = static_cast<DType>(number());
        out.shape = shape();
        return out;
    }

private:
    std::string_view take(size_t size) {
        if (size > bytes_.size()) throw std::out_of_range("facts");
        const std::string_view part = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return part;
    }

    std::string_view bytes_;
};

std::string written(const NetworkFacts& facts) {
    FactWriter out;
    out.tensor(facts.input);
    out.number(static_cast<int64_t>(facts.outputs.size()));
    for (size_t i = 0; i < facts.outputs.size(); ++i) {
        out.tensor(facts.outputs[i]);
        out.shape(facts.declared[i]);
    }
    out.number(static_cast<int64_t>(facts.activation_bytes));
    out.number(static_cast<int64_t>(facts.bytes_beside));
    for (const size_t one : {facts.rows.output, size_t{facts.rows.fields_first}, facts.rows.first_score,
                             facts.rows.scores, facts.rows.classes})
        out.number(static_cast<int64_t>(one));
    return out.take();
}

NetworkFacts read_facts(FactReader in) {
    NetworkFacts facts;
    facts.input = in.tensor();
    for (size_t left = in.count(); left > 0; --left) {
        facts.outputs.push_back(in.tensor());
        facts.declared.push_back(in.shape());
    }
    facts.activation_bytes = static_cast<uint64_t>(in.number());
    facts.bytes_beside = static_cast<uint64_t>(in.number());
    const auto next = [&in] { return static_cast<size_t>(in.number()); };
    facts.rows.output = next();
    facts.rows.fields_first = next() != 0;
    facts.rows.first_score = next();
    facts.rows.scores = next();
    facts.rows.classes = next();
    return facts;
}

struct Header {
    Digest sum;  ///< of everything behind it
    char form[24];
    uint64_t facts, compiled;
};

/// Where what OpenVINO made begins.
uint64_t place_of(uint64_t facts) { return (sizeof(Header) + facts + kPage - 1) / kPage * kPage; }

bool write_all(int to, const char* data, size_t count) {
    while (count > 0) {
        const ssize_t done = ::write(to, data, count);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        data += done;
        count -= static_cast<size_t>(done);
    }
    return true;
}

/// A stream into a file from where it is now. OpenVINO goes back in it, to fill in lengths.
class FileBuffer final : public std::streambuf {
public:
    explicit FileBuffer(int descriptor) : descriptor_(descriptor), begin_(::lseek(descriptor, 0, SEEK_CUR)) {}

protected:
    int_type overflow(int_type letter) override {
        const char byte = traits_type::to_char_type(letter);
        return xsputn(&byte, 1) == 1 ? letter : traits_type::eof();
    }
    std::streamsize xsputn(const char* data, std::streamsize count) override {
        return write_all(descriptor_, data, static_cast<size_t>(count)) ? count : 0;
    }
    pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
        const int whence = from == std::ios_base::beg ? SEEK_SET : from == std::ios_base::end ? SEEK_END : SEEK_CUR;
        const off_t to = ::lseek(descriptor_, whence == SEEK_SET ? begin_ + offset : offset, whence);
        return to < 0 ? pos_type(off_type(-1)) : pos_type(to - begin_);
    }
    pos_type seekpos(pos_type to, std::ios_base::openmode which) override {
        return seekoff(off_type(to), std::ios_base::beg, which);
    }

private:
    int descriptor_;
    off_t begin_;
};

/// Finds damage, and an entry under another's name: four sums as XXH64 makes them (Yann Collet), of every fourth word
/// each. No digest, as whoever can write into the folder can write a digest as well.
class Sum {
public:
    explicit Sum(const std::string& name) {
        const Digest own = sha256(name);
        std::memcpy(lanes_.data(), own.data(), sizeof lanes_);
    }
    /// All but the last part have a multiple of 32 bytes.
    void add(const char* data, size_t size) {
        size_ += size;
        for (; size >= kBlock; data += kBlock, size -= kBlock) add_block(data);
        if (size == 0) return;
        char last[kBlock] = {};
        std::memcpy(last, data, size);
        add_block(last);
    }
    Digest get() const {
        Digest out;
        for (size_t i = 0; i < lanes_.size(); ++i) {
            const uint64_t lane = round(lanes_[i], size_);
            std::memcpy(out.data() + i * sizeof lane, &lane, sizeof lane);
        }
        return out;
    }

private:
    static constexpr size_t kBlock = 32;
    static_assert(sizeof(Digest) == kBlock && kPart % kBlock == 0);

    static uint64_t round(uint64_t lane, uint64_t word) {
        lane += word * 0xC2B2AE3D27D4EB4FULL;
        lane = lane << 31 | lane >> 33;
        return lane * 0x9E3779B185EBCA87ULL;
    }
    void add_block(const char* data) {
        std::array<uint64_t, 4> words;
        std::memcpy(words.data(), data, sizeof words);
        for (size_t i = 0; i < words.size(); ++i) lanes_[i] = round(lanes_[i], words[i]);
    }

    std::array<uint64_t, 4> lanes_;
    uint64_t size_ = 0;
};

Digest sum_behind(const FileBytes& bytes, const std::string& name) {
    Sum sum(name);
    sum.add(bytes.data() + sizeof(Digest), bytes.size() - sizeof(Digest));
    return sum.get();
}

/// The same of a file that is being written. Throws std::runtime_error where it cannot be read.
Digest sum_behind(int descriptor, uint64_t size, const std::string& name) {
    Sum sum(name);
    std::vector<char> room(kPart);
    for (uint64_t done = sizeof(Digest); done < size;) {
        const auto count = static_cast<size_t>(std::min<uint64_t>(size - done, room.size()));
        if (!read_all(descriptor, done, room.data(), count)) throw std::runtime_error("cannot be read");
        sum.add(room.data(), count);
        done += count;
    }
    return sum.get();
}

bool write_entry(int to, const std::string& name, const NetworkFacts& facts, ov::CompiledModel& compiled) {
    const std::string said = written(facts);
    Header header{};
    std::strncpy(header.form, kForm, sizeof header.form - 1);
    header.facts = said.size();
    std::string begin(place_of(said.size()), '\0');
    std::memcpy(begin.data(), &header, sizeof header);
    std::copy(said.begin(), said.end(), begin.begin() + sizeof header);
    if (!write_all(to, begin.data(), begin.size())) return false;
    FileBuffer buffer(to);
    std::ostream stream(&buffer);
    compiled.export_model(stream);
    if (!stream.good()) return false;
    struct stat status{};
    if (::fstat(to, &status) != 0) return false;
    header.compiled = static_cast<uint64_t>(status.st_size) - begin.size();
    const auto put = [&] { return ::pwrite(to, &header, sizeof header, 0) == ssize_t{sizeof header}; };
    if (!put()) return false;
    header.sum = sum_behind(to, static_cast<uint64_t>(status.st_size), name);
    return put();
}

/// What a file holds; none where it is not whole, or has another name than it was written under.
std::optional<KeptNetwork> read_entry(int from, const std::string& name) {
    const auto bytes = FileBytes::of(from);
    Header header;
    if (!bytes || bytes->size() < sizeof header) return std::nullopt;
    std::memcpy(&header, bytes->data(), sizeof header);
    header.form[sizeof header.form - 1] = '\0';
    const uint64_t size = bytes->size();
    if (std::string_view(header.form) != kForm || header.facts > size || header.compiled > size ||
        place_of(header.facts) + header.compiled != size || sum_behind(*bytes, name) != header.sum)
        return std::nullopt;
    KeptNetwork kept;
    kept.facts = read_facts(FactReader({bytes->data() + sizeof header, header.facts}));
    char* const at = const_cast<char*>(bytes->data()) + place_of(header.facts);
    kept.compiled = ov::Tensor(ov::Tensor(ov::element::u8, ov::Shape{header.compiled}, at), bytes);
    kept.bytes = bytes;
    return kept;
}

}  // namespace

std::optional<Keeping> Keeping::of(const ModelFile& file, OnnxContent& content, const ov::AnyMap& config,
                                   ov::Core& core) {
    if (!asked_for(file.weight_bytes) || !fixed_size(file)) return std::nullopt;
    const uint64_t most = most_bytes(), weights = static_cast<uint64_t>(file.weight_bytes);
    if (weights > most) return std::nullopt;
    auto files = KeptFiles::open("openvino");
    if (!files) return std::nullopt;
    return Keeping(std::move(*files), name_of(content, config, core), most, weights);
}

std::optional<KeptNetwork> Keeping::find() const {
    const Descriptor file = files_.find(name_);
    if (!file) return std::nullopt;
    try {
        if (auto kept = read_entry(file.get(), name_)) return kept;
    } catch (const std::exception&) {
        // Not whole, as below.
    }
    remove();
    return std::nullopt;
}

void Keeping::keep(const NetworkFacts& facts, ov::CompiledModel& compiled) const noexcept {
    try {
        if (files_.free_bytes() < 2 * weights_) return;
        files_.keep(name_, [&](int to) { return write_entry(to, name_, facts, compiled); });
        files_.trim(most_);
    } catch (const std::exception&) {
        // A network that cannot be kept is compiled again the next time.
    }
}

}  // namespace trtpose::openvino
