// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

#include "trtpose/export.hpp"

namespace trtpose {

/// Which part of the world an error is about; Python's exception types follow it.
enum class ErrorCode {
    model,   ///< the model, engine file or model spec
    input,   ///< the picture, array or option value
    device,  ///< no such device, driver or vendor library
    budget,  ///< more memory than allowed
};

/// Everything trtpose throws on purpose. what() names the item, what is wrong and what to do.
class TRTPOSE_API Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ~Error() override;
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

}  // namespace trtpose
