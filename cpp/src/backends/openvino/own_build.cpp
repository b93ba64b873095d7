// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/own_build.hpp"

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>
#include <string_view>

namespace trtpose::openvino {
namespace {

/// The build id in a segment of notes; empty where it has none.
std::string_view build_id(const char* at, uint64_t size, uint64_t align) {
    const auto padded = [align](uint64_t bytes) { return (bytes + align - 1) / align * align; };
    for (ElfW(Nhdr) note; size >= sizeof note;) {
        std::memcpy(&note, at, sizeof note);
        const uint64_t name = padded(note.n_namesz), whole = sizeof note + name + padded(note.n_descsz);
        if (whole > size) break;
        if (note.n_type == NT_GNU_BUILD_ID &&
            std::string_view(at + sizeof note, note.n_namesz) == std::string_view("GNU", 4))
            return {at + sizeof note + name, note.n_descsz};
        at += whole;
        size -= whole;
    }
    return {};
}

struct Look {
    uintptr_t address;  ///< of the module that is looked for
    std::string found;
};

bool holds(const dl_phdr_info& module, uintptr_t address) {
    for (int i = 0; i < module.dlpi_phnum; ++i) {
        const auto& part = module.dlpi_phdr[i];
        if (part.p_type == PT_LOAD && address - (module.dlpi_addr + part.p_vaddr) < part.p_memsz) return true;
    }
    return false;
}

int look_at(dl_phdr_info* module, size_t, void* data) {
    auto& look = *static_cast<Look*>(data);
    if (!holds(*module, look.address)) return 0;
    for (int i = 0; i < module->dlpi_phnum && look.found.empty(); ++i) {
        const auto& part = module->dlpi_phdr[i];
        constexpr uint64_t kWord = 4;
        if (part.p_type == PT_NOTE)
            look.found = build_id(reinterpret_cast<const char*>(module->dlpi_addr + part.p_vaddr), part.p_memsz,
                                  part.p_align == 8 ? 8 : kWord);
    }
    return 1;
}

}  // namespace

std::string own_build() {
    Look look{reinterpret_cast<uintptr_t>(&own_build), {}};
    ::dl_iterate_phdr(&look_at, &look);
    return look.found;
}

}  // namespace trtpose::openvino
