# SPDX-License-Identifier: Apache-2.0
"""YOLOv7-pose, YOLO-Pose, yolov7-face and what decodes to the same rows: anchors on a grid of cells."""
