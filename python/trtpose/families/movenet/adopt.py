# SPDX-License-Identifier: Apache-2.0
"""Adopting MoveNet as other exporters wrote it: one form of input, and raw heads where the decoding is recognised.

The decoding is recognised by what it computes. The convolutions that all outputs go through are its heads; which is
which their widths say, and where two are as wide, the order with which our own decoding gives the file's own answers.
Where none does, the graph stays whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ... import _files, _run
from ...errors import ModelError
from ...formats import onnx_file
from ...formats.metadata import find_spec, metadata, stated_spec
from ...formats.onnx_runner import Runner, sample_pictures
from ...skeletons import known_skeleton
from ...spec import METADATA_KEY, ModelSpec
from ..family import Exported, quiet
from . import surgery
from .graph import FOUR, SIX, FileForm, constants_of, dims_of, form_of, picture_of
from .reference import Constants, decode_multi, decode_single

__all__ = ["adopt"]

Array = NDArray[np.float32]

_MULTIPLE = 32  # of the sides that networks of several people take
_OPEN_SIDES = (320, 320)  # what TensorFlow's own programs feed those whose size is open
_SAMPLES = 2
# The graph's own float32 against float64, in parts of the input; its constants are taken from it.
_SAME = 2e-5
# Keypoints may lie a little outside of the input.
_FAR = 2.0
# One convolution in another order of its sums.
_SAME_HEADS = 1e-3
_DTYPES: dict[int, Any] = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.UINT8: np.uint8,
    onnx.TensorProto.INT64: np.int64,
}


def adopt(
    path: Path,
    output: Path,
    *,
    spec: ModelSpec | None = None,
    arch: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Write a copy of an ONNX that carries a model spec and takes pictures as trtpose feeds them.

    Args:
        path: the ONNX file; its picture N x H x W x 3 or N x 3 x H x W, of float32, float16, int32, int64 or
            uint8.
        output: another file to write.
        spec: what is known of it, of which the family's keys are kept.
        arch: ``movenet`` says that heads nobody named are Google's.
        report: called with a line of text as the work goes on.

    Raises:
        ModelError: the file cannot be read or is not recognised and nothing says what it is.
        InputError: ``output`` cannot be written or is the source.
    """
    say = report or quiet
    _run.reads_model(path)
    _files.check_writable(output)
    model = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    stated = {entry.key: entry.value for entry in model.metadata_props}
    known = spec or stated_spec(stated, str(path))
    found = _form(model, path, known, arch)
    network = _Network(model, found, path)
    plain = surgery.plain_picture(model, found.channels_last)
    lines: list[str] = []
    keys: dict[str, Any] = dict(found.keys)
    what = "left the graph of {} as it is"
    heads = None
    if found.form in ("single", "multi") and known is None:
        say("looking for the heads behind the decoding")
        heads = network.heads()
        if heads is None and arch != "movenet":
            _check_answers(network, path)
    if heads is not None:
        plain = surgery.cut(plain, heads.names, heads.shapes)
        keys.update(heads.keys)
        lines.append(f"decoded heads against the original output: {heads.difference:.1e} of the side")
        what = "cut {} back to its raw heads"
    form = found.form if heads is None else f"{found.form}_heads"
    names = found.outputs if heads is None else tuple(heads.names.values())
    if form.endswith("_heads"):
        plain = _with_open_batch(plain, network, path)
    if found.channels_last or network.whole:
        what += ", put its picture's form in front of it"
    lines.append(f"outputs against the original: {_compared(plain, network, heads, path):.1e}")
    described = _spec(path, plain, form, found, names, keys, known)
    made = _described(plain, described, path, stated)
    _files.write_bytes(output, made.data)
    find_spec(output)
    return Exported(output, described, what.format(path.name) + " and added the spec", tuple(lines))


def _form(model: onnx.ModelProto, path: Path, known: ModelSpec | None, arch: str | None) -> FileForm:
    """What the file is.

    Raises:
        ModelError: no form of MoveNet, or heads that nothing names.
    """
    found = form_of(model)
    picture = picture_of(model)
    if found is None or picture is None:
        raise ModelError(
            f"{path}: its inputs and outputs are no form of MoveNet (docs/conventions.md has them); take the file "
            "as its makers publish it"
        )
    pictures = dims_of(picture)[0]
    if pictures > 1:
        raise ModelError(
            f"{path}: its input '{picture.name}' takes {pictures} pictures at a time; export the network for one"
        )
    kind = picture.type.tensor_type.elem_type
    if kind not in _DTYPES:
        raise ModelError(
            f"{path}: its input '{picture.name}' is of type {_type_name(kind)}; take one of float32, float16, int32 "
            "or uint8"
        )
    if not found.sure and known is None and arch != "movenet":
        if found.form == "single":
            raise ModelError(
                f"{path}: its output '{found.outputs[0]}' is as MoveNet gives one person, but with channels first "
                "nobody publishes it; where it is one, say so with --arch movenet"
            )
        raise ModelError(
            f"{path}: {len(found.outputs)} heads as MoveNet's, but their names do not say whether they hold logits and "
            "pairs (y, x), as Google's do: if so, and if the third is regress and the fourth offset, give --arch "
            "movenet, else a model spec with --spec FILE (its keys outputs, pairs, activated, rounded and floor are in "
            "docs/conventions.md)"
        )
    return found


def _type_name(kind: int) -> str:
    return onnx.helper.tensor_dtype_to_string(kind).removeprefix("TensorProto.").lower()


def _check_answers(network: _Network, path: Path) -> None:
    """Lists of other networks are as large as MoveNet's; what stands in them tells.

    Raises:
        ModelError: these are no places in parts of the input and no probabilities.
    """
    found = network.found
    rows = np.concatenate([values[0].reshape(-1, values[0].shape[-1]) for values in network.run(found.outputs)])
    boxes = rows[:, 3 * found.keypoints : -1] if found.people else np.zeros((1, 4), np.float32)
    points = rows[:, : 3 * found.keypoints].reshape(-1, 3)
    scores = np.concatenate([points[:, 2], rows[:, -1]])
    places = np.concatenate([points[:, :2].ravel(), boxes.ravel()])
    fits = (np.abs(places) < _FAR).all() and ((scores >= 0) & (scores <= 1 + _SAME)).all()
    if not fits or not (boxes[:, :2] <= boxes[:, 2:]).all() or not rows.any():
        raise ModelError(
            f"{path}: its output '{found.outputs[0]}' is as large as MoveNet's answer, but one run shows that it holds "
            "none of MoveNet's people (places in parts of the input, scores from 0 to 1); give the model spec of what "
            "it is with --spec FILE"
        )


@dataclass(frozen=True)
class _Heads:
    """Heads within a graph that decodes them.

    Attributes:
        names: their tensors, and what they shall be called.
        shapes: by the new names, without the batch.
        keys: of the spec.
        difference: of our decoding from the graph's, in parts of the input.
    """

    names: dict[str, str]
    shapes: dict[str, list[int | None]]
    keys: dict[str, Any]
    difference: float


class _Network:
    """A file as it came, with samples to run it on."""

    def __init__(self, model: onnx.ModelProto, found: FileForm, path: Path) -> None:
        picture = picture_of(model)
        assert picture is not None
        self.model, self.found, self.path = model, found, path
        dims = dims_of(picture)
        sides = dims[1:3] if found.channels_last else dims[2:]
        self.open = [side == 0 for side in sides]
        # Open sizes are tried at one with unequal sides.
        self.height, self.width = sides[0] or 256, sides[1] or 320
        self.dtype: Any = _DTYPES[picture.type.tensor_type.elem_type]
        self.whole = bool(np.issubdtype(self.dtype, np.integer))
        self.samples = [
            np.round(255 * sample_pictures((1, 3, self.height, self.width), seed)[kind]).astype(np.float32)
            for seed in range(_SAMPLES)
            for kind in ("shapes", "noise")
        ]

    def fed(self, picture: Array) -> NDArray[Any]:
        """A sample as the file takes it."""
        return (picture.transpose(0, 2, 3, 1) if self.found.channels_last else picture).astype(self.dtype)

    def run(self, names: Sequence[str]) -> list[list[Array]]:
        """Tensors of the graph, for each sample."""
        probe = copy.deepcopy(self.model)
        del probe.graph.output[:]
        known = {value.name: value for value in self.model.graph.output}
        for name in names:
            plain = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            probe.graph.output.append(known.get(name, plain))
        runner = Runner(onnx_file.checked(probe, str(self.path)))
        return [runner(self.fed(sample)) for sample in self.samples]

    def heads(self) -> _Heads | None:
        """The heads behind the decoding, None where it is none that is known."""
        tensors = surgery.last_convolutions(self.model)
        several = self.found.form == "multi"
        if len(tensors) != (6 if several else 4):
            return None
        output = self.found.outputs[0]
        try:
            runs = self.run([output, *tensors])
        except ModelError:  # such as convolutions in half precision
            return None
        answers = [values[0] for values in runs]
        given = [dict(zip(tensors, values[1:], strict=True)) for values in runs]
        grid = given[0][tensors[0]].shape[2:]
        if any(value.ndim != 4 or value.shape[2:] != grid for value in given[0].values()):
            return None
        best: _Heads | None = None
        for order, constants in product(self._orders(given[0]), self._constants(grid)):
            difference = max(
                self._difference([values[name] for name in order], answer, constants)
                for values, answer in zip(given, answers, strict=True)
            )
            if difference <= _SAME and (best is None or difference < best.difference):
                best = self._made(order, given[0], constants, difference)
        return best

    def _orders(self, values: dict[str, Array]) -> Iterator[tuple[str, ...]]:
        """Tensors in the order of a spec's outputs, each order that their widths allow."""
        k = self.found.keypoints
        groups = [(k, 1), (1, 1), (2 * k, 2), *([(2, 2)] if self.found.form == "multi" else [])]
        by_width = [[name for name, value in values.items() if value.shape[1] == width] for width, _ in groups]
        if any(len(names) != count for names, (_, count) in zip(by_width, groups, strict=True)):
            return
        for parts in product(*(permutations(names) for names in by_width)):
            yield tuple(name for part in parts for name in part)

    def _constants(self, grid: tuple[int, ...]) -> list[Constants]:
        """Those of the formulas, and as near ones as the graph holds."""
        held = constants_of(self.model)

        def near(value: float) -> float:
            return min((v for v in held if abs(v - value) < 1e-3 * value), key=lambda v: abs(v - value), default=value)

        exact = Constants(counted=0.127 if self.found.form == "multi" else 0.2)
        cell = near(1 / grid[0])
        rounded = Constants(
            softening=near(exact.softening),
            spread=near(exact.spread),
            counted=near(exact.counted) if self.found.form == "multi" else exact.counted,
            cell=None if abs(cell * grid[0] - 1) < 1e-6 or self.found.form == "multi" else cell,
        )
        return list(dict.fromkeys([rounded, exact]))

    def _difference(self, heads: list[Array], answer: Array, constants: Constants) -> float:
        one = [head[0] for head in heads]
        if self.found.form == "multi":
            ours = decode_multi(one, constants, self.found.people)
        else:
            ours = decode_single(one, constants)
        difference = np.abs(ours - answer.reshape(ours.shape))
        # Rows behind the last peak are any cells; where there are no others nothing is proven.
        return float(np.nanmax(difference)) if np.isfinite(difference).any() else float("inf")

    def _made(
        self, order: tuple[str, ...], values: dict[str, Array], constants: Constants, difference: float
    ) -> _Heads:
        several = self.found.form == "multi"
        names: dict[str, str] = dict(zip(order, SIX if several else FOUR, strict=True))
        sides = [None if is_open else side for is_open, side in zip(self.open, values[order[0]].shape[2:], strict=True)]
        shapes: dict[str, list[int | None]] = {names[name]: [1, values[name].shape[1], *sides] for name in order}
        keys: dict[str, Any] = {"softening": constants.softening}
        if several:
            keys = {"spread": constants.spread, "counted": constants.counted}
        elif constants.cell is not None:
            keys["cell"] = constants.cell * self.height
        return _Heads(names, shapes, keys, difference)


def _with_open_batch(model: onnx.ModelProto, network: _Network, path: Path) -> onnx.ModelProto:
    """The graph for any number of pictures, where it gives two what it gives each; else as it is."""
    opened = surgery.open_batch(model)
    first, second = network.samples[:2]
    try:
        both = Runner(onnx_file.checked(opened, str(path)))(np.concatenate([first, second]))
        alone = Runner(onnx_file.checked(model, str(path)))
        for index, sample in enumerate((first, second)):
            for got, expected in zip(both, alone(sample), strict=True):
                if got.shape[0] != 2 or np.abs(got[index] - expected[0]).max() > _SAME_HEADS:
                    return model
    except ModelError:
        return model
    return opened


def _compared(model: onnx.ModelProto, network: _Network, heads: _Heads | None, path: Path) -> float:
    """The largest difference of what is read from what the file gives.

    Raises:
        ModelError: they differ by more than rounding.
    """
    names = list(network.found.outputs) if heads is None else list(heads.names)
    runner = Runner(onnx_file.checked(model, str(path)))
    order = list(runner.outputs) if heads is None else list(heads.names.values())
    worst = 0.0
    for sample, expected in zip(network.samples, network.run(names), strict=True):
        got = dict(zip(runner.outputs, runner(sample), strict=True))
        by_name = dict(zip(names if heads is None else order, expected, strict=True))
        worst = max(worst, *(float(np.abs(got[name] - by_name[name]).max()) for name in by_name))
    if not worst <= _SAME_HEADS:
        raise ModelError(
            f"{path}: with another form of input it gives other answers (by {worst:.1e}); nothing was written"
        )
    return worst


def _spec(
    path: Path,
    model: onnx.ModelProto,
    form: str,
    found: FileForm,
    outputs: tuple[str, ...],
    keys: dict[str, Any],
    known: ModelSpec | None,
) -> ModelSpec:
    picture = picture_of(model)
    assert picture is not None
    sides = dims_of(picture)[2:]
    size = [side or usual for side, usual in zip(sides, _OPEN_SIDES, strict=True)]
    strides = [_MULTIPLE] if all(side % _MULTIPLE == 0 for side in size) else []
    if form.endswith("_heads"):
        head = next(value for value in model.graph.output if value.name == outputs[0])
        cells = dims_of(head)[2]
        # The grid of a network whose size is open is that of the others.
        strides = [size[0] // cells if cells and sides[0] else 4, *strides]
    fields: dict[str, Any] = {
        "family": "movenet",
        "form": form,
        "name": path.stem,
        "imgsz": size,
        "strides": strides,
        "outputs": list(outputs),
        "names": ["person"],
        "kpt_shape": [found.keypoints, 3],
        "std": [1.0, 1.0, 1.0],
        "pad": 0,
        **keys,
    }
    if form.startswith("multi"):
        fields["placement"] = "top_left"
    skeleton = known_skeleton(["person"], found.keypoints)
    if skeleton is not None:
        fields.update(
            kpt_names=list(skeleton.names),
            skeleton=[list(edge) for edge in skeleton.edges],
            sigmas=list(skeleton.sigmas),
            flip_idx=list(skeleton.flip),
        )
    if known is not None:
        fields.update(known.to_dict())
    return ModelSpec.from_dict(fields, source=str(path))


def _described(model: onnx.ModelProto, spec: ModelSpec, path: Path, stated: dict[str, str]) -> onnx_file.OnnxBytes:
    """The model with the spec in its metadata; other metadata is kept."""
    picture = picture_of(model)
    assert picture is not None
    dims = [side or None for side in dims_of(picture)]
    new = metadata(spec, (dims[0], dims[2], dims[3]), stated.get("license", "unknown: that of the source"))
    del model.metadata_props[:]
    for key, value in {**new, **{k: v for k, v in stated.items() if k != METADATA_KEY}}.items():
        model.metadata_props.add(key=key, value=value)
    return onnx_file.checked(model, str(path))
