# SPDX-License-Identifier: Apache-2.0
"""Many pictures into a folder of Parquet files, shard by shard, so that a run which was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .._checks import choice, file_path, instance, whole
from .._files import atomic_path, cannot_write, describe, read_bounded, write_text
from ..errors import InputError
from ..formats.beside import files_beside
from ..formats.metadata import find_spec
from ..sources import MAX_PIXELS
from . import data
from .plan import Plan, make_plan, resources
from .table import arrow, schema

__all__ = ["Summary", "infer_files"]

_ABOUT = "trtpose.json"
_PLACE = "_place"
_LARGEST = 16 << 20
"""Bytes of the description of a run."""


@dataclass(frozen=True)
class Summary:
    """What a folder of results holds.

    Attributes:
        pictures: rows.
        failed: of these, pictures that could not be read; their column ``error`` says why.
        people: found in the others.
        shards: files.
        before: of these, files that an earlier run had written.
    """

    pictures: int
    failed: int
    people: int
    shards: int
    before: int


def infer_files(
    paths: Iterable[str | os.PathLike[str]],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shard: int = 1000,
    again: Literal["none", "failed"] = "none",
    on_error: Literal["keep", "raise"] = "keep",
    max_pixels: int = MAX_PIXELS,
    rows: int = 64,
    readers: int = 4,
    concurrency: data.Concurrency = 1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    actors: dict[str, Any] | None = None,
    notify: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Summary:
    """Find the people in picture files and write a Parquet file per shard; called again it goes on.

    Each shard holds ``shard`` pictures in the order of ``paths`` and is written whole or not at all, by this process. A
    run that was killed loses the shards it had begun; called again with the same arguments it does those that are not
    there, and ends with the same rows. ``ray.data.read_parquet(out)`` reads them all.

    Args:
        paths: of pictures, or addresses such as ``s3://bucket/key`` of stores that pyarrow knows. Each actor reads its
            own, so that files must be there on each machine.
        model: as of :func:`trtpose.ray.infer`; also on this machine, which only looks at it.
        out: folder of this machine, made where it is not there, for this run alone.
        shard: pictures in a file.
        again: ``failed`` does the shards again in which a picture could not be read.
        on_error, max_pixels, rows, readers, concurrency, num_cpus, num_gpus, actors: as of :func:`trtpose.ray.infer`.
        notify: called after each shard with how many are there and how many there will be.
        options: of :class:`trtpose.Engine`. How many actors there are, and ``device`` and ``threads``, may differ from
            the earlier run's.

    Raises:
        InputError: an option has no valid value, or the folder holds results of other pictures, another model, or with
            other options; or it cannot be written.
        ModelError: the model cannot be read, or its spec is missing.
        DeviceError: Ray is not installed.
    """
    data.ray_data()
    names = _names(paths)
    need = resources(model, options, num_cpus, num_gpus)
    how = {"on_error": on_error, "max_pixels": max_pixels, "readers": readers}
    plan = make_plan(model, options, need, column="path", color="bgr", **how)
    repeat = choice(again, "again", ("none", "failed")) == "failed"
    folder = _Folder(_local(out), len(names), whole(shard, "shard", 1, 1 << 24))
    found = find_spec(plan.model, options.get("spec"))
    folder.begin(_about(plan, names, folder, json.loads(found.spec.to_json())))
    before = folder.done(without_errors=repeat)
    missing = sorted(set(range(folder.shards)) - set(before))
    if missing:
        source = _dataset(names, folder, missing, min(whole(rows, "rows", 1, 1 << 16), folder.size))
        results = data.mapped(source, plan, need, rows=rows, concurrency=concurrency, actors=actors)
        for ready in _written(results, folder, schema(found.spec, plan.model), len(before)):
            if notify is not None:
                notify(ready, folder.shards)
    return folder.summary(len(before))


def _local(out: Any) -> Path:
    path = file_path(out, "out", "the path of a folder")
    if "://" in os.fspath(out if isinstance(out, (str, os.PathLike)) else path):
        raise InputError(f"out is {out}; give a folder of this machine and copy it there, or use Dataset.write_parquet")
    return path


def _names(paths: Iterable[Any]) -> list[str]:
    instance(paths, "paths", Iterable, "a list of paths")
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise InputError(f"paths is {paths!r}; give a list of paths, or ray.data.read_binary_files to infer")
    names: list[str] = []
    for path in paths:
        instance(path, f"paths[{len(names)}]", (str, os.PathLike), "the path of a picture")
        name = os.fspath(path)
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name!r}: the name is not valid UTF-8; rename the file") from None
        names.append(name)
    return names


def _about(plan: Plan, names: Sequence[str], folder: _Folder, spec: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in a run that goes on: pictures, model, and options that change results."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(name.encode() + b"\0")
    how = ("precision", "imgsz", "batch", "rect")
    return {
        "trtpose": 1,
        "pictures": len(names),
        "paths": digest.hexdigest(),
        "shard": folder.size,
        "model": _digest(plan.model),
        "thresholds": asdict(plan.options["thresholds"]),
        "options": {name: plan.options[name] for name in how if plan.options.get(name) is not None},
        "max_pixels": plan.max_pixels,
        "spec": spec,
    }


def _digest(model: str) -> str:
    """Of a model's content, with the files that it has weights in."""
    digest = hashlib.blake2b(digest_size=16)
    path = Path(model)
    beside = files_beside(path) if path.suffix.lower() == ".onnx" else []
    for one in (path, *beside):
        try:
            with one.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{one}: cannot be read ({describe(error)}); it must be on this machine too") from None
    return digest.hexdigest()


class _Folder:
    """The files of a run.

    Args:
        path: of the folder.
        pictures: in all.
        size: pictures of a shard.
    """

    def __init__(self, path: Path, pictures: int, size: int) -> None:
        self.path = path
        self.pictures = pictures
        self.size = size
        self.shards = -(-pictures // size)

    def file(self, number: int) -> Path:
        """Of a shard, counted from 0."""
        return self.path / f"part-{number:06}-of-{self.shards:06}.parquet"

    def length(self, number: int) -> int:
        """Pictures of a shard."""
        return min(self.size, self.pictures - number * self.size)

    def begin(self, about: dict[str, Any]) -> None:
        """Take the folder for this run, or go on with one that is the same.

        Raises:
            InputError: it is another's, or cannot be written.
        """
        file = self.path / _ABOUT
        mine = json.loads(json.dumps(about, default=str))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                others = sorted(one.name for one in self.path.iterdir() if one.suffix == ".parquet")
                if others:
                    raise InputError(f"{self.path}: holds {others[0]} of something else; give a new folder")
                write_text(file, json.dumps(mine, indent=1) + "\n")
                return
            theirs: Any = json.loads(read_bounded(file, _LARGEST))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be used ({describe(error)}); give another folder") from None
        except (ValueError, RecursionError):
            theirs = None
        if not isinstance(theirs, dict):
            raise InputError(f"{file}: is not the description of a run; give a new folder")
        for key in {**mine, **theirs}:
            if mine.get(key) != theirs.get(key):
                raise InputError(
                    f"{self.path}: holds the results of a run with other {key}; give the same pictures, model and "
                    "options to go on with it, or a new folder"
                )

    def done(self, *, without_errors: bool) -> list[int]:
        """Shards that are there, or only those in which every picture could be read."""
        there = [number for number in range(self.shards) if self.file(number).exists()]
        return [number for number in there if not self._failures(number)] if without_errors else there

    def write(self, number: int, table: Any, form: Any) -> None:
        """Write a shard, whole or not at all; the last of that name stays."""
        import pyarrow.parquet as parquet

        with atomic_path(self.file(number), follow=False) as temporary:
            try:
                parquet.write_table(table.cast(form), str(temporary), compression="zstd")
            except OSError as error:
                raise cannot_write(self.file(number), error) from error

    def _columns(self, number: int, *names: str) -> Any:
        import pyarrow.parquet as parquet

        file = self.file(number)
        try:
            table = parquet.ParquetFile(str(file)).read(columns=list(names))
        except (OSError, arrow().ArrowException) as error:
            raise InputError(
                f"{file}: cannot be read ({' '.join(str(error).split())}); remove it to do it again"
            ) from None
        if table.num_rows != self.length(number):
            raise InputError(f"{file}: has {table.num_rows} rows, not {self.length(number)}; remove it to do it again")
        return table

    def _failures(self, number: int) -> int:
        """Pictures of a shard that could not be read."""
        column = self._columns(number, "error").column("error")
        return len(column) - column.null_count

    def summary(self, before: int) -> Summary:
        """What is there in the end."""
        failed = people = 0
        for number in range(self.shards):
            table = self._columns(number, "error", "scores")
            failed += self.length(number) - table.column("error").null_count
            people += sum(len(chunk.flatten()) for chunk in table.column("scores").chunks)
        return Summary(self.pictures, failed, people, self.shards, before)


def _dataset(names: Sequence[str], folder: _Folder, missing: Sequence[int], rows: int) -> Any:
    """Paths of the pictures of shards and their places, in blocks that an actor takes at once."""
    pa = arrow()
    blocks: list[Any] = []
    for number in missing:
        first = number * folder.size
        for begin in range(first, first + folder.length(number), rows):
            end = min(begin + rows, first + folder.length(number))
            blocks.append(
                pa.table(
                    {"path": pa.array(names[begin:end], pa.string()), _PLACE: pa.array(range(begin, end), pa.int64())}
                )
            )
    return data.ray_data().from_arrow(blocks)


def _written(results: Any, folder: _Folder, form: Any, ready: int) -> Iterator[int]:
    """Write shards as they become whole; how many are there after each, ``ready`` before the first."""
    tables = results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for number, table in _whole_shards(tables, folder):
        folder.write(number, table, form)
        ready += 1
        yield ready


def _whole_shards(tables: Iterable[Any], folder: _Folder) -> Iterator[tuple[int, Any]]:
    """Shards as they become whole, their rows in order. Blocks come in any order, and one may come in parts.

    Raises:
        InputError: Ray gave a row twice, or not all of them.
    """
    pa = arrow()
    waiting: dict[int, list[Any]] = {}
    for table in tables:
        places = table.column(_PLACE).to_numpy()
        for number in sorted({int(place) // folder.size for place in places}):
            waiting.setdefault(number, []).append(table.filter(pa.array(places // folder.size == number)))
            if sum(part.num_rows for part in waiting[number]) == folder.length(number):
                whole = pa.concat_tables(waiting.pop(number)).sort_by(_PLACE)
                first = number * folder.size
                if whole.column(_PLACE).to_pylist() != list(range(first, first + folder.length(number))):
                    raise InputError(f"shard {number}: Ray gave some of its rows twice; run it again")
                yield number, whole.drop_columns([_PLACE])
    if waiting:
        raise InputError(f"shard {min(waiting)}: Ray gave not all of its rows; run it again")
