#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The reference of YOLOv7-pose returns, in evaluation mode, heads that are half raw and half decoded.
#
# Expected: in evaluation mode the keypoint head gives a pair, the decoded rows and the raw heads; the raw heads are those
# that training mode gives for the same input, as their box fields are (sas-yolov7-pose 1.0.5, the reference as PyPI
# has it; WongKinYiu/yolov7, branch pose, is the origin).
# Seen: of the second part the box, objectness and class fields are raw, the keypoint fields are decoded: pixels and
# probabilities, the very numbers of the decoded rows. They are written into the same memory. Whoever takes reference
# values, or a loss, from there compares pixels with logits and finds the boxes right.
# What helps: take the raw heads in training mode (with batch normalisation frozen), or hook the last convolutions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/heads.py" <<'PYTHON'
import importlib.metadata
import sys
import types
import warnings

import torch

# The package imports torchvision for functions that are not called here, and its wheel wants another build of PyTorch.
torchvision = types.ModuleType("torchvision")
torchvision.ops = types.ModuleType("torchvision.ops")
sys.modules.update({"torchvision": torchvision, "torchvision.ops": torchvision.ops})
from sas_yolov7_pose.models.yolo import IKeypoint  # noqa: E402

warnings.filterwarnings("ignore", message="torch.meshgrid")
torch.manual_seed(0)
BOX = 6  # cx, cy, w, h, objectness, one class
head = IKeypoint(nc=1, anchors=[[19, 27, 44, 40], [96, 68, 86, 152]], nkpt=17, ch=[8, 16])
head.stride = torch.tensor([8.0, 16.0])
features = [torch.randn(1, 8, 12, 12), torch.randn(1, 16, 6, 6)]
with torch.no_grad():
    training = [level.clone() for level in head.train()([f.clone() for f in features])]
    rows, evaluation = head.eval()([f.clone() for f in features])

print(f"sas-yolov7-pose {importlib.metadata.version('sas-yolov7-pose')}, PyTorch {torch.__version__}")
first, as_described = 0, True
for level, (raw, given) in enumerate(zip(training, evaluation, strict=True)):
    count = given[..., 0].numel()
    decoded = rows[0, first : first + count].view_as(given)
    first += count
    boxes_raw = torch.equal(raw[..., :BOX], given[..., :BOX])
    points_decoded = torch.equal(decoded[..., BOX:], given[..., BOX:])
    moved = (raw[..., BOX:] - given[..., BOX:]).abs().max().item()
    print(
        f"    head {level}: box fields are those of training: {boxes_raw}; keypoint fields are the decoded ones: "
        f"{points_decoded}, up to {moved:.1f} from those of training"
    )
    as_described &= boxes_raw and points_decoded and moved > 1
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
python3 -m venv "$work/environment"
pip() { "$work/environment/bin/pip" --quiet --disable-pip-version-check install "$@"; }
pip torch==2.13.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 pandas==3.1.1 pyyaml==6.0.4 requests==2.34.2 pillow==13.0.0 \
    matplotlib==3.11.2 scipy==1.17.1 tqdm==4.70.1
pip --no-deps sas-yolov7-pose==1.0.5
"$work/environment/bin/python" "$work/heads.py"
