// SPDX-License-Identifier: Apache-2.0
#include "plugins/log.hpp"

#include <atomic>
#include <cstdio>

#include "plugins/loaded_tensorrt.hpp"

namespace trtpose::plugins {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};

nvinfer1::ILogger* find_logger() {
    if (nvinfer1::ILoggerFinder* const given = finder.load()) return given->findLogger();
    using GetLogger = nvinfer1::ILogger*();
    void* const symbol = loaded_symbol("getLogger");
    return symbol ? reinterpret_cast<GetLogger*>(symbol)() : nullptr;
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* given) { finder.store(given); }

void log(nvinfer1::ILogger::Severity severity, const std::string& line) noexcept {
    try {
        if (nvinfer1::ILogger* const logger = find_logger()) {
            logger->log(severity, line.c_str());
            return;
        }
    } catch (...) {
        // Whatever the finder threw, the line is to be seen.
    }
    std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace trtpose::plugins
