#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""count_people.py MODEL PICTURE...: how many people are in each picture, and who raises a hand."""

from __future__ import annotations

import sys

import cv2

import trtpose


def main(model: str, *pictures: str) -> None:
    engine = trtpose.Engine(model)
    names = engine.spec.kpt_names
    for picture in pictures:
        frame = cv2.imread(picture)
        if frame is None:
            print(f"{picture}: not a picture")
            continue
        (poses,) = engine.infer(frame)
        print(f"{picture}: {len(poses)} people")
        if "left_wrist" not in names or "nose" not in names:
            continue
        nose, wrists = names.index("nose"), [names.index("left_wrist"), names.index("right_wrist")]
        raised = (poses.keypoints[:, wrists, 1] < poses.keypoints[:, [nose], 1]) & poses.visible()[:, wrists]
        for person, hands in enumerate(raised):
            if hands.any():
                print(f"  person {person} raises a hand")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
