# SPDX-License-Identifier: Apache-2.0
"""run_installed.py DOUBLE WORK, with the Python that trtpose is installed in: an engine made and run there.

TensorRT for RTX itself makes the engine. Running it ends in the sentence about the missing driver, or runs where there
is a GPU. Then the same installation runs it on the double, what tools/double.sh left in the folder DOUBLE, and finds
what OpenVINO finds with the ONNX.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def trtpose(*arguments: object, check: bool = True, **environment: object) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("trtpose"), *arguments]
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=variables)
    if check and done.returncode:
        raise SystemExit(f"trtpose {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done


def images(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["images"]


def main(double: Path, work: Path) -> None:
    package = Path(importlib.util.find_spec("trtpose").origin).parent
    assert Path(sys.prefix) in package.parents, f"{package} is not the installed package"
    onnx, pictures = package / "data" / "demo.onnx", package / "data" / "demo"
    engine = work / "demo.engine"
    trtpose("build", onnx, "--runtime", "rtx", "--fp32", "-o", engine)

    plain = trtpose("infer", engine, pictures, "--json", work / "gpu.json", check=False)
    sentences = ("no NVIDIA driver was found", "this build of trtpose has no CUDA")
    assert plain.returncode == 0 or any(text in plain.stderr for text in sentences), plain.stderr
    print(plain.stderr.strip().splitlines()[-1] if plain.returncode else "there is a GPU, and it ran the engine")

    told = json.loads(trtpose("info", engine, "--json").stdout)["engine"]
    assert told["onnx_sha256"] == hashlib.sha256(onnx.read_bytes()).hexdigest()
    settings = {
        "version": told["version"],
        "onnx": str(onnx),
        "shape": told["profiles"][0]["images"]["opt"],
        "report": str(work / "report.json"),
    }
    (work / "double.json").write_text(json.dumps(settings))
    on_double = {
        "LD_LIBRARY_PATH": double,
        "PYTHONPATH": double,
        "TRTPOSE_DOUBLE": work / "double.json",
        "TRTPOSE_CACHE": work / "cache",
        # A native module would open the real library, which crashes without a driver.
        "TRTPOSE_TENSORRT_SESSION": "python",
    }
    trtpose("infer", engine, pictures, "--json", work / "double-poses.json", **on_double)
    trtpose("infer", onnx, pictures, "--device", "cpu", "--json", work / "cpu.json")
    found, wanted = images(work / "double-poses.json"), images(work / "cpu.json")
    assert found == wanted, "the double's answers are not those of the ONNX"
    people = sum(len(image["poses"]) for image in found)
    assert people >= len(found) > 2, f"{people} people in {len(found)} pictures"

    report = json.loads((work / "report.json").read_text())
    assert report["complaints"] == [], report
    assert report["fault"] == "", report
    # Warmed up and captured; what follows goes by the graph, without a call of Python.
    assert report["enqueued"] == 2, report
    assert report["carried_out"] == len(found), report
    print(f"engine on the double: {people} people in {len(found)} pictures, as on the CPU; 1 passed, 0 failed")


main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
