// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>

#include <exception>
#include <string>

namespace trtpose::plugins {

void set_logger_finder(nvinfer1::ILoggerFinder* finder);

/// One line to the logger of whoever called: the one TensorRT names, the library's own, or stderr.
void log(nvinfer1::ILogger::Severity severity, const std::string& line) noexcept;

/// call(); a sentence in the log and `failed` in place of an exception, which must not reach TensorRT.
template <typename Result, typename Call>
Result guarded(Result failed, Call&& call) noexcept {
    try {
        return call();
    } catch (const std::exception& error) {
        log(nvinfer1::ILogger::Severity::kERROR, error.what());
    } catch (...) {
        log(nvinfer1::ILogger::Severity::kERROR, "trtpose_decode_nms: something unknown went wrong");
    }
    return failed;
}

}  // namespace trtpose::plugins
