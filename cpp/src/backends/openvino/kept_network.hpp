// SPDX-License-Identifier: Apache-2.0
// Networks as OpenVINO compiled them, kept for the next start: in the user's cache folder, each under a name that
// follows from the bytes that OnnxContent has checked and from everything that what is compiled depends on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <openvino/openvino.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/kept_files.hpp"
#include "model/onnx_content.hpp"
#include "trtpose/session.hpp"

namespace trtpose::openvino {

/// What a session says of a network, without having it.
struct NetworkFacts {
    TensorInfo input;
    std::vector<TensorInfo> outputs;
    std::vector<std::vector<int64_t>> declared;  ///< shape of each output as the file has it
    uint64_t activation_bytes = 0;
    uint64_t bytes_beside = 0;  ///< of weights that the file does not have
    ScoredRows rows;            ///< of which it leaves low ones out, where it can
};

/// Reads so many bytes of a file; false where it ends before or cannot be read.
bool read_all(int descriptor, uint64_t offset, char* to, size_t count);

/// Bytes of a file that nobody changes: mapped where the disk is this machine's, so that they can leave memory again.
class FileBytes {
public:
    /// Empty where it cannot be had.
    static std::shared_ptr<FileBytes> of(int descriptor);
    FileBytes(void* data, size_t size, bool mapped) : data_(data), size_(size), mapped_(mapped) {}
    ~FileBytes();
    FileBytes(const FileBytes&) = delete;
    FileBytes& operator=(const FileBytes&) = delete;

    const char* data() const { return static_cast<const char*>(data_); }
    size_t size() const { return size_; }
    /// Whether let_go() does something.
    bool mapped() const { return mapped_; }
    /// Take the pages out of memory; they come back when they are read.
    void let_go() const noexcept;

private:
    void* data_;
    size_t size_;
    bool mapped_;
};

/// As long as it lives, what is read of the bytes leaves memory soon afterwards. For the first run of a network, in
/// which OpenVINO makes its own form of each weight: else both would be there.
class LettingGo {
public:
    explicit LettingGo(std::shared_ptr<FileBytes> bytes);
    ~LettingGo();
    LettingGo(const LettingGo&) = delete;
    LettingGo& operator=(const LettingGo&) = delete;

private:
    struct State;
    std::unique_ptr<State> state_;
};

struct KeptNetwork {
    NetworkFacts facts;
    std::shared_ptr<FileBytes> bytes;  ///< must outlive what is made of `compiled`
    ov::Tensor compiled;               ///< for ov::Core::import_model
};

/// The place of one network.
class Keeping {
public:
    /// None where it is switched off, the network is too small to be worth it or leaves its input size open, or there
    /// is no folder for it. `config`: what it is compiled with, and what else it depends on. Reads all of the content.
    /// Throws Error(input) for a variable with a value that cannot be, and what OnnxContent throws.
    static std::optional<Keeping> of(const ModelFile& file, OnnxContent& content, const ov::AnyMap& config,
                                     ov::Core& core);

    /// What is kept; none where there is nothing or it is not whole, which is then removed.
    std::optional<KeptNetwork> find() const;
    void keep(const NetworkFacts& facts, ov::CompiledModel& compiled) const noexcept;
    void remove() const { files_.remove(name_); }

private:
    Keeping(KeptFiles files, std::string name, uint64_t most, uint64_t weights)
        : files_(std::move(files)), name_(std::move(name)), most_(most), weights_(weights) {}

    KeptFiles files_;
    std::string name_;
    uint64_t most_;     ///< bytes of all that is kept
    uint64_t weights_;  ///< bytes of this network's
};

}  // namespace trtpose::openvino
