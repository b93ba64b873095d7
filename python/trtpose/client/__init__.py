# SPDX-License-Identifier: Apache-2.0
"""People found by a server: ``trtpose serve``, or Triton with a repository of ``trtpose triton``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from .._checks import callbacks, shown, text, whole
from .._frames import frames_of
from ..errors import InputError, ServerError
from ..results import Poses
from ..spec import METADATA_KEY, ModelSpec
from ..thresholds import ThresholdChanges, Thresholds, checked
from .connection import Connections, Reply
from .inputs import Item, groups, item_of
from .protocol import arrays_of, body_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from ..engine import Color
    from ..sources import Frame
    from ..tracking.methods import Method

__all__ = ["Client"]

_THRESHOLDS = ("conf", "iou", "max_det", "agnostic", "nms")


class Client:
    """A network that runs in a server, used like an :class:`trtpose.Engine`.

    The protocol is KServe's, version 2, which both servers speak, with tensors as bytes: coordinates are those that the
    server found, not rounded. Nothing is needed beyond trtpose itself.

    Args:
        url: address of the server, such as ``http://127.0.0.1:8000``; without a scheme it is ``http``.
        model: which of its models; not needed where there is one alone.
        token: what a server that asks for one wants to see.
        timeout: seconds from a request to its answer, all of its tries together.
        retries: how often a request is sent again that the server did not take: it was busy (429), not ready (503), or
            the connection broke before an answer.
        batch: frames in one request at most.

    Raises:
        InputError: an argument has no valid value.
        ServerError: the server is not reached, refuses, or has no such model.
        ModelError: the model spec that it gives is not valid.

    Attributes:
        url: address of the server.
        model: name of the model there.
        spec: its model spec.
        batch: frames in one request at most.

    Any number of threads may use one at the same time. It may be used after a fork.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        token: str = "",
        timeout: float = 60.0,
        retries: int = 3,
        batch: int = 16,
    ) -> None:
        if model is not None and (not isinstance(cast("Any", model), str) or not model or not model.isprintable()):
            raise InputError(f"model is {shown(model)}; give the name of one of the server's models")
        self.batch = whole(batch, "batch", 1, 1024)
        self._server = Connections(url, token=token, timeout=timeout, retries=retries)
        self.url = self._server.url
        try:
            # Triton says "triton"; others that speak the protocol have a model's spec nowhere that is known.
            self._ours = self._document("/v2").get("name") == "trtpose"
            self.model = self._only_model() if model is None else model
            self._path = f"/v2/models/{quote(self.model, safe='')}"
            self._version = ""
            self.spec = self._read_spec()
            self._opened = self._server.opened
        except BaseException:
            self.close()
            raise

    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: Color = "bgr",
        **changes: Unpack[ThresholdChanges],
    ) -> list[Poses]:
        """Find the people in frames.

        Args:
            batch: as of :meth:`trtpose.Engine.infer`: height×width×3 uint8 arrays, paths of pictures, pictures of
                Pillow, lists of these, an N×height×width×3 array, or an iterator. Arrays are sent as they are, files as
                they are: the server decodes them. No float32 inputs, arrays on a GPU or :class:`trtpose.Nv12`.
            thresholds: in place of the server's own, for this call alone.
            changes: fields of :class:`trtpose.Thresholds` as keyword arguments, for this call alone.
            color: channel order of the arrays, ``bgr`` or ``rgb``; of no matter for the rest.

        Returns:
            One :class:`trtpose.Poses` per frame, in order; coordinates in that frame's pixels.

        Raises:
            InputError: a frame or threshold cannot be used; the message says which.
            ServerError: the server is not reached, refuses, or answers what it should not.
        """
        color = cast("Color", text(color, "color", "bgr or rgb"))
        if color not in ("bgr", "rgb"):
            raise InputError(f"color {shown(color)} is not known; use bgr or rgb")
        parameters = _parameters(thresholds, changes)
        items = [item_of(frame, color, f"frame {index}") for index, frame in enumerate(frames_of(batch))]
        return [poses for group in groups(items, self.batch) for poses in self._group(group, parameters)]

    __call__ = infer

    def stream(
        self,
        sources: Any,
        *,
        track: bool | Method = False,
        smooth: bool = False,
        thresholds: Thresholds | None = None,
        on_error: Callable[[InputError], None] | None = None,
        **changes: Unpack[ThresholdChanges],
    ) -> Iterator[tuple[Frame, Poses]]:
        """Frames of pictures, videos, cameras and streams with the people in them; as :meth:`trtpose.Engine.stream`.

        Raises:
            InputError, DeviceError: as there.
            ServerError: as :meth:`infer`.
        """
        from .._stream import stream

        callbacks(on_error=on_error)
        asking = _Asking(self, thresholds, changes)
        return stream(cast("Any", asking), Thresholds(), sources, track=track, smooth=smooth, on_error=on_error)

    def ready(self) -> bool:
        """Whether the server says that it answers; False also where it is not reached."""
        try:
            return self._server.ask("GET", "/v2/health/ready").status == 200
        except ServerError:
            return False

    def close(self) -> None:
        """Close the connections that are not in use; the next call opens another."""
        self._server.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r}, {self.model!r})"

    def _group(self, items: Sequence[Item], parameters: Mapping[str, str]) -> list[Poses]:
        """The answers to one request."""
        body, headers = body_of(items[0].tensor_with(items[1:]), parameters)
        reply = self._server.ask("POST", f"{self._path}/infer", body, headers)
        if reply.status != 200:
            raise self._refusal(reply, items)
        try:
            document, arrays = arrays_of(reply)
            self._follow(document)
            _check(arrays, items, self.spec)
            return [self._poses(arrays, row) for row in range(len(items))]
        except (ValueError, RecursionError, InputError) as error:
            raise self._strange(f"answers what no trtpose does ({error})") from None

    def _poses(self, arrays: Mapping[str, NDArray[Any]], row: int) -> Poses:
        count = int(arrays["counts"][row])
        height, width = (int(side) for side in arrays["shapes"][row])
        return Poses(
            boxes=arrays["boxes"][row, :count],
            scores=arrays["scores"][row, :count],
            class_ids=arrays["class_ids"][row, :count],
            keypoints=arrays["keypoints"][row, :count],
            shape=(height, width),
            spec=self.spec,
        )

    def _follow(self, document: Mapping[str, Any]) -> None:
        """Read the spec anew where it may be another: Triton names versions, and ours may have been started again."""
        if self._ours and self._opened != self._server.opened:
            self._opened = self._server.opened
            self.spec = self._read_spec()
        if str(document.get("model_version", "")) != self._version:
            self.spec = self._read_spec()
            if str(document.get("model_version", "")) != self._version:
                raise ValueError(f"version {document.get('model_version')!r} of the model answers; try again")

    def _only_model(self) -> str:
        """The model, where the server has one alone."""
        if self._ours:
            return str(self._document("/v1/model").get("model"))
        index = self._json(self._checked(self._server.ask("POST", "/v2/repository/index", [b"{}"])))
        names: list[str] = []
        for entry in cast("list[Any]", index) if isinstance(index, list) else []:
            if isinstance(entry, dict) and "name" in entry:
                names.append(str(cast("dict[str, Any]", entry)["name"]))
        own = [name for name in dict.fromkeys(names) if self._parameter(name) is not None]
        if len(own) == 1:
            return own[0]
        listed = ", ".join(own or names) or "none"
        raise InputError(f"{self.url}: name one of its models with model=; there are {listed}")

    def _parameter(self, model: str) -> str | None:
        """The spec in the configuration of one of Triton's models, as JSON; None where it has none."""
        reply = self._server.ask("GET", f"/v2/models/{quote(model, safe='')}/config")
        if reply.status != 200:
            return None
        config = self._object(self._json(reply))
        try:
            value: Any = config["parameters"][METADATA_KEY]["string_value"]
        except (KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None

    def _read_spec(self) -> ModelSpec:
        source = f"{self.url}: the spec of {self.model}"
        versions: Any = self._document(self._path).get("versions")
        if not isinstance(versions, list) or not versions:
            raise self._strange(f"names no version of {self.model}")
        # The configuration is that of the highest, in whatever order they are named.
        named = [str(version) for version in cast("list[Any]", versions)]
        self._version = max(named, key=lambda text: (len(text), text))
        if self._ours:
            fields: Any = self._document("/v1/model").get("spec")
            return ModelSpec.from_dict(self._object(fields), source=source)
        value = self._parameter(self.model)
        if value is None:
            raise ServerError(
                f"{self.url}: the model {self.model} takes no pictures: trtpose triton did not write it, or it is the "
                "network behind one that does; name that one"
            )
        return ModelSpec.from_json(value, source=source)

    def _document(self, path: str) -> dict[str, Any]:
        return self._object(self._json(self._checked(self._server.ask("GET", path))))

    def _json(self, reply: Reply) -> Any:
        try:
            return reply.json()
        except (ValueError, RecursionError):
            raise self._strange("answers no JSON") from None

    def _object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._strange("answers another JSON than the protocol's")
        return cast("dict[str, Any]", value)

    def _strange(self, what: str) -> ServerError:
        return ServerError(f"{self.url}: {what}; check that it is trtpose serve, or Triton, of this version", 200)

    def _checked(self, reply: Reply) -> Reply:
        if reply.status != 200:
            raise self._refusal(reply, ())
        return reply

    def _refusal(self, reply: Reply, items: Sequence[Item]) -> Exception:
        """The error for an answer that is none."""
        why = _sentence(reply)
        for index, item in enumerate(items):
            if why.startswith(f"picture {index}:"):
                why = item.name + why.removeprefix(f"picture {index}")
        status = reply.status
        if status == 400 and items:
            return InputError(why)
        remedy = _REMEDIES.get(status, "")
        if 300 <= status < 400:
            remedy = f"; give the address {reply.headers.get('location', 'that it names')}"
        return ServerError(f"{self.url}: {why} (status {status}){remedy}", status)


class _Asking:
    """A client as a stream takes an engine, with thresholds of which those that nobody named are the server's."""

    def __init__(self, client: Client, thresholds: Thresholds | None, changes: ThresholdChanges) -> None:
        _parameters(thresholds, changes)  # what is wrong with them is said now
        self._client, self._thresholds, self._changes = client, thresholds, changes
        self.batch = client.batch

    def infer(self, frames: list[Any], **_: Any) -> list[Poses]:
        return self._client.infer(frames, thresholds=self._thresholds, **self._changes)


_REMEDIES = {
    401: "; give the server's token with token=",
    403: "; give the server's token with token=",
    413: "; send smaller frames",
    429: "; retries= says how often it is tried",
}


_SENTENCE = 2000
"""Characters of what a server says that an error holds."""


def _sentence(reply: Reply) -> str:
    """What an answer says is wrong."""
    try:
        why: Any = reply.json()["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        why = None
    if not isinstance(why, str) or not why:
        why = reply.data[:200].decode("utf-8", "replace") or "no reason is given"
    # Whoever prints an error prints it to a terminal, which would obey.
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(why[:_SENTENCE].split()))


def _parameters(thresholds: Thresholds | None, changes: ThresholdChanges) -> dict[str, str]:
    """Thresholds as the parameters of a request; texts, as not every Triton hands on numbers with a point."""
    kept = Thresholds() if thresholds is None else checked(thresholds)
    kept = kept.changed(changes)
    given = _THRESHOLDS
    if thresholds is None:
        given = tuple(name for name in _THRESHOLDS if cast("Mapping[str, Any]", changes).get(name) is not None)
    return {name: str(getattr(kept, name)).lower() for name in given}


def _check(arrays: Mapping[str, NDArray[np.generic]], items: Sequence[Item], spec: ModelSpec) -> None:
    """See that an answer's arrays fit each other, the question and the spec; ValueError where they do not."""
    count = len(items)
    shape = arrays["boxes"].shape
    most = shape[1] if len(shape) == 3 else -1
    expected = {
        "counts": (count,),
        "boxes": (count, most, 4),
        "scores": (count, most),
        "class_ids": (count, most),
        "keypoints": (count, most, spec.keypoints, 3),
        "shapes": (count, 2),
    }
    for name, wanted in expected.items():
        if arrays[name].shape != wanted:
            raise ValueError(f"{name} has the shape {arrays[name].shape} for {count} frames")
    counts: Any = arrays["counts"]
    if count and not (counts.min() >= 0 and counts.max() <= most):
        raise ValueError(f"the counts run from {counts.min()} to {counts.max()}, with room for {most}")
    for row, item in enumerate(items):
        if item.size is not None and tuple(arrays["shapes"][row].tolist()) != item.size:
            raise ValueError(f"{item.name} of {item.size} is said to be of {tuple(arrays['shapes'][row].tolist())}")
