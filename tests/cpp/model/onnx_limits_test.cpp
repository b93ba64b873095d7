// SPDX-License-Identifier: Apache-2.0
// Versions and sizes beyond what the libraries were made for are refused by the reader.
#include "model/onnx_limits.hpp"

#include <gtest/gtest.h>

#include "support/model_files.hpp"
#include "support/reference.hpp"

namespace trtpose::test {
namespace {

class OnnxLimitsTest : public WithModelFiles {
protected:
    void refuses(const OnnxModel& model, const std::string& part) {
        const std::string text = model.text();
        TRTPOSE_EXPECT_ERROR(read(text), ErrorCode::model, part);
        TRTPOSE_EXPECT_ERROR(check_onnx(text.data(), text.size(), "net"), ErrorCode::model, part);
    }
};

TEST_F(OnnxLimitsTest, OpsetsOfEveryDomainAreBounded) {
    for (const OpsetLimit& limit : kOpsetLimits) {
        SCOPED_TRACE(limit.domain);
        OnnxModel model = head_model();
        model.opsets.push_back({std::string(limit.domain), static_cast<uint64_t>(limit.highest)});
        EXPECT_EQ(read(model.text()).kind, "onnx");
        for (const uint64_t version : {uint64_t{0}, static_cast<uint64_t>(limit.highest) + 1, ~uint64_t{0}}) {
            model.opsets.back().second = version;
            refuses(model, " of " + std::string(limit.domain.empty() ? "ai.onnx" : limit.domain));
        }
    }
    OnnxModel model = head_model();
    model.opsets.push_back({"somebody.else", kMaxForeignOpset});
    EXPECT_EQ(read(model.text()).opset, 17);
    model.opsets.back().second = kMaxForeignOpset + 1;
    refuses(model, "opset 101 of somebody.else");
    model.opsets = {};
    refuses(model, "states no opset");
    for (int i = 0; i <= kMaxOpsets; ++i) model.opsets.push_back({"d" + std::to_string(i), 1});
    refuses(model, "more than 32 opsets");
}

TEST_F(OnnxLimitsTest, OpsetsOfFunctionsToo) {
    OnnxModel model = head_model();
    model.rest.message(25, Proto().message(9, Proto().bytes(1, "").number(2, 27)));
    refuses(model, "opset 27 of ai.onnx");
}

TEST_F(OnnxLimitsTest, IrVersionsAreBounded) {
    OnnxModel model = head_model();
    for (const int64_t version : {kMinIrVersion, kMaxIrVersion}) {
        model.ir_version = static_cast<uint64_t>(version);
        EXPECT_EQ(read(model.text()).kind, "onnx");
    }
    for (const int64_t version : {int64_t{0}, kMinIrVersion - 1, kMaxIrVersion + 1, int64_t{-1}}) {
        model.ir_version = static_cast<uint64_t>(version);
        refuses(model, "IR version " + std::to_string(version));
    }
}

TEST_F(OnnxLimitsTest, DeclaredSizesAreBounded) {
    OnnxModel model = head_model();
    model.outputs[0].second = {1 << 11, 1 << 10, 1 << 10};
    refuses(model, "'p3' is 2048×1024×1024, more than 2147483647 numbers");
    model.outputs[0].second = {-1, 1 << 16, 1 << 15};
    refuses(model, "more than 2147483647 numbers");
    model = head_model();
    model.inputs[0].second = {1, 3, 1 << 15, 1 << 15};
    refuses(model, "'images' is 1×3×32768×32768, more than");
    model.inputs[0].second = {1, 3, 1 << 14, 1 << 14};
    EXPECT_EQ(read(model.text()).kind, "onnx");
}

TEST_F(OnnxLimitsTest, SparseWeightsAreBoundedAsWhatTheyStandFor) {
    OnnxModel model = head_model();
    model.graph_rest.message(15, Proto().number(3, 1 << 16).number(3, 1 << 15));
    refuses(model, "sparse weight of impossible size");
}

TEST_F(OnnxLimitsTest, FieldsAreCountedAsOtherReadersOfProtobufCountThem) {
    // They look at 32 bits of a field's number, so that one beyond may be another field to them.
    const std::string far = Proto().number(8, 1).text();
    OnnxModel model = head_model();
    model.rest.raw("\xb8\x80\x80\x80\x80\x01").raw(far.substr(1));
    refuses(model, "impossible number");
}

}  // namespace
}  // namespace trtpose::test
