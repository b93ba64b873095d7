# SPDX-License-Identifier: Apache-2.0
"""From the description of a network to a PyTorch module, its weights and its ONNX: what several families need."""
