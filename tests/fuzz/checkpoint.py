# SPDX-License-Identifier: Apache-2.0
"""The reader of PyTorch checkpoints: a checkpoint or a ModelError, and nothing in the file is imported or called.

The first byte of an input says what the rest is: 0 a file as it stands, else a pickle, which is put into an archive
with right checksums, so that what is changed in it is read on.
"""

from __future__ import annotations

import io
import zipfile

import support
import trtpose
from trtpose.formats import checkpoint, data_pickle, tensor_storage

FILE = support.scratch_file("model.pt")
STORAGES = 4
MOST_NUMBERS = 1 << 16
CODECS = ("ascii", "cp437", "latin-1", "raw_unicode_escape", "unicode_escape", "utf-8")


def archive(pickle: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a/data.pkl", pickle)
        for key in range(STORAGES):
            file.writestr(f"a/data/{key}", bytes(16 << key))
    return out.getvalue()


def tensors(found: checkpoint.Checkpoint) -> list[checkpoint.Tensor]:
    out = list((found.weights() or {}).values())
    try:
        network = found.network()
    except trtpose.ModelError:
        return out
    return out + [tensor for module in network.walk() for tensor in module.tensors.values()]


def one(data: bytes) -> None:
    FILE.write_bytes(archive(data[1:]) if data[:1] > b"\0" else data[1:])
    try:
        with checkpoint.Checkpoint(FILE) as found:
            for tensor in tensors(found):
                if tensor.storage.count <= MOST_NUMBERS:
                    assert found.array(tensor).shape == tensor.shape
    except trtpose.ModelError:
        pass


if __name__ == "__main__":
    for codec in CODECS:
        "a".encode(codec).decode(codec)
    support.instrument(checkpoint, data_pickle, tensor_storage)
    # An archive, a pickle, what may be a tar file, and text that is none of them.
    support.run(one, [b"\1\x80\x02}.", b"\0\x80\x02}.", b"\0" + bytes(1024), b"\0no checkpoint"])
