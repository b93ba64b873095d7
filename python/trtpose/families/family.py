# SPDX-License-Identifier: Apache-2.0
"""What a family of networks offers to the parts of trtpose that know none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from ..errors import InputError, ModelError
from ..spec import ModelSpec

if TYPE_CHECKING:
    import onnx

    from ..formats.onnx_writer import Shape
    from ..formats.source_file import SourceFile

__all__ = ["Exported", "Family", "Heads", "PoseNetwork", "Published", "lookup", "quiet"]


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        path: the ONNX file.
        spec: what it carries.
        action: in one line, what was done.
        report: lines with the largest differences from the original.
    """

    path: Path
    spec: ModelSpec
    action: str
    report: tuple[str, ...]


def quiet(line: str) -> None:
    """Where the lines of a report go that nobody asked for."""
    del line


@dataclass(frozen=True)
class Heads:
    """The shape of the tensors that a network's poses are read from.

    Attributes:
        count: how many there are.
        rank: dimensions of each.
        axis: the dimension that holds what is predicted of one place.
        width: its length.
        sized: whether their shapes tell the size of the input.
        shapes: the shape of each, -1 where it is free, where they are not alike; rank, axis and width are then those
            of the first.
    """

    count: int
    rank: int
    axis: int
    width: int
    sized: bool
    shapes: tuple[tuple[int, ...], ...] = ()


class Published(Protocol):
    """A network that has a name."""

    @property
    def name(self) -> str:
        """The name given on the command line."""
        ...

    @property
    def imgsz(self) -> int:
        """Side in pixels of the square input it was trained at."""
        ...

    @property
    def license(self) -> str:
        """License of the published weights."""
        ...

    @property
    def url(self) -> str:
        """Where the published weights are, empty where they cannot be fetched by name."""
        ...

    @property
    def parameters(self) -> int:
        """Numbers that the network learns, 0 where that is not known."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the published weights, 0 where that is not known."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of the published weights, hexadecimal, empty where it is not known."""
        ...

    @property
    def file(self) -> str:
        """Name of the weights in the cache and on a mirror."""
        ...


_Entry = TypeVar("_Entry")


def lookup(catalogue: Mapping[str, _Entry], name: str) -> _Entry:
    """The entry of a name.

    Raises:
        InputError: no such name; the message lists those there are.
    """
    if name not in catalogue:
        raise InputError(f"{name}: no network of this name; known are {', '.join(catalogue)}")
    return catalogue[name]


class PoseNetwork(Protocol):
    """A PyTorch module of a family, with weights.

    Attributes:
        spec: how to read what it gives.
        license: of the weights, as far as known.
    """

    spec: ModelSpec
    license: str


class Family(ABC):
    """A family of networks. What needs PyTorch or ONNX imports it when it is called.

    Attributes:
        name: as the key ``family`` of a model spec.
        export_layouts: layouts that its networks can be exported with, the default first; none where there is one form.
    """

    name: ClassVar[str]
    export_layouts: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def heads(self, spec: ModelSpec) -> Heads:
        """The tensors that poses are read from."""

    @property
    def catalogue(self) -> Mapping[str, Published]:
        """Its published networks by name."""
        return {}

    def claims(self, file: SourceFile) -> bool:
        """Whether an ONNX file or a checkpoint that says nothing of a family is one of its networks.

        Be strict: what nobody claims goes to the first family, what two claim is refused. A ``ModelError`` while the
        file is read means no.
        """
        del file
        return False

    def load(self, path: Path, arch: str | None = None) -> PoseNetwork:
        """Read a checkpoint and build its network; ``arch`` names the network where the file does not.

        Raises:
            ModelError: the checkpoint cannot be used.
            InputError: no such ``arch``.
        """
        del arch
        raise ModelError(f"{path}: no checkpoints of the family {self.name} are read; give an ONNX of it")

    def load_published(self, entry: Published, weights: Path, arch: str | None = None) -> PoseNetwork:
        """The network of an entry of the catalogue, out of its published weights; errors as :meth:`load`."""
        network = self.load(weights, arch)
        network.spec = replace(network.spec, name=entry.name, imgsz=(entry.imgsz, entry.imgsz))
        network.license = entry.license
        return network

    def random(self, name: str, seed: int) -> PoseNetwork:
        """A network of the catalogue with random weights.

        Raises:
            InputError: no such name.
        """
        del seed
        raise InputError(f"{name}: the family {self.name} has no networks with random weights; give an ONNX of it")

    def write(self, network: PoseNetwork, shape: Shape, layout: str) -> tuple[onnx.ModelProto, ModelSpec]:
        """A network as ONNX without metadata, and the spec of what it gives.

        Raises:
            ModelError: it has no form in ONNX.
        """
        del shape, layout
        raise ModelError(f"{network.spec.name}: networks of the family {self.name} are not written as ONNX")

    def verify(
        self, file: Path, network: PoseNetwork, written: ModelSpec, shape: tuple[int, int, int, int], source: str
    ) -> list[str]:
        """Run a written file beside its network on pictures N x 3 x H x W; one line per kind of picture.

        Raises:
            ModelError: they differ by more than rounding.
        """
        del file, network, written, shape
        raise ModelError(f"{source}: networks of the family {self.name} cannot be compared with their ONNX")

    def adopt(
        self,
        path: Path,
        output: Path,
        *,
        spec: ModelSpec | None = None,
        arch: str | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Exported:
        """Write a copy of another exporter's ONNX that describes itself.

        Raises:
            ModelError: the file is not recognised and nothing says what it is.
            InputError: ``output`` cannot be written or is the source.
        """
        del output, spec, arch, report
        raise ModelError(f"{path}: files of other exporters are not adopted for the family {self.name}")
