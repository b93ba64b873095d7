# SPDX-License-Identifier: Apache-2.0
"""``trtpose.client`` against ``trtpose serve``: the same poses as the engine's own."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
from engine_support import same
from server_support import Start, running
from support import encoded, picture
from trtpose import Engine, InputError, Nv12, Poses, ServerError, Thresholds
from trtpose.client import Client

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture
def client(start: Start) -> Any:
    with Client(start()) as made:
        yield made


def check(found: list[Poses], expected: list[Poses]) -> None:
    assert sum(map(len, expected)) > 0
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert same(one, other)
        assert one.shape == other.shape
        assert one.spec == other.spec
        assert one.names == other.names


def test_knows_what_the_server_runs(client: Client, engine: Engine) -> None:
    assert client.model == "served"
    assert client.spec == engine.spec
    assert client.ready()
    assert "served" in repr(client)


def test_the_poses_of_the_engine(client: Client, engine: Engine, tmp_path: Path) -> None:
    frames = [picture(40 + 8 * (i % 3), 70, seed=i) for i in range(9)]
    stack = np.stack([picture(48, 64, seed=i) for i in range(6)])
    check(client.infer(frames), engine.infer(frames))
    check(client.infer(stack), engine.infer(stack))
    check(client(iter(frames)), engine.infer(frames))
    check(client.infer(frames[0]), engine.infer(frames[0]))
    check(client.infer(frames[0][:, ::-1]), engine.infer(np.ascontiguousarray(frames[0][:, ::-1])))
    check(client.infer(frames, color="rgb"), engine.infer(frames, color="rgb"))
    file = tmp_path / "a picture.png"
    file.write_bytes(encoded(".png", frames[0]))
    check(client.infer([file, frames[1], str(file)]), engine.infer([file, frames[1], str(file)]))
    assert client.infer([]) == []


def test_pictures_of_pillow(client: Client, engine: Engine) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed").fromarray(picture(50, 60, seed=3))
    for color in ("bgr", "rgb"):
        check(client.infer([image], color=color), engine.infer([image], color=color))


def test_thresholds_are_the_calls_own(client: Client, engine: Engine) -> None:
    frames = [picture(48, 64, seed=i) for i in range(4)]
    loose = client.infer(frames, conf=0.01, max_det=7)
    check(loose, engine.infer(frames, conf=0.01, max_det=7))
    assert max(map(len, loose)) == 7
    given = Thresholds(conf=0.02, iou=0.9, max_det=40, agnostic=True)
    check(client.infer(frames, thresholds=given), engine.infer(frames, thresholds=given))
    # Those of the server, which were given when its engine was opened.
    assert engine.thresholds.conf != Thresholds().conf
    check(client.infer(frames), engine.infer(frames))
    check(client.infer(frames, conf=None), engine.infer(frames))


def test_frames_are_divided_among_requests(start: Start, engine: Engine) -> None:
    frames = [picture(48, 64, seed=i) for i in range(7)]
    with Client(start(), batch=3) as client:
        check(client.infer(frames), engine.infer(frames))
    large = [picture(1700, 1100, seed=i) for i in range(4)]
    with Client(start()) as client:  # 22 MB in all
        check(client.infer(large), engine.infer(large))


def test_a_stream(client: Client, engine: Engine, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(".png", picture(48, 64, seed=number)))
    pairs = list(client.stream([tmp_path]))
    expected = list(engine.stream([tmp_path]))
    assert [frame.source for frame, _ in pairs] == [frame.source for frame, _ in expected]
    check([poses for _, poses in pairs], [poses for _, poses in expected])


def test_threads_share_one(client: Client, engine: Engine) -> None:
    frames = [picture(48, 64, seed=i) for i in range(6)]
    expected = engine.infer(frames)
    found: dict[int, list[Poses]] = {}

    def ask(number: int) -> None:
        found[number] = [poses for _ in range(4) for poses in client.infer(frames[number])]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, poses in found.items():
        check(poses, [expected[number]] * 4)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("batch", "options", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), {}, "frame 0: has the shape (4, 4, 3) and dtype float32"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)], {}, "frame 1: has the shape (4, 4)"),
        (np.zeros((0, 4, 3), np.uint8), {}, "frame 0: has the shape (0, 4, 3)"),
        (5, {}, "frame 0: is of type int"),
        ("none.png", {}, "none.png: no such file"),
        (Nv12(np.zeros((6, 4), np.uint8), matrix="bt709"), {}, "frame 0: is an Nv12"),
        ([], {"color": "grey"}, "color 'grey' is not known"),
        ([], {"conf": 2.0}, "conf"),
        ([], {"thresholds": 3}, "thresholds is of type int"),
    ],
)
def test_what_is_no_frame(client: Client, batch: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        client.infer(batch, **options)
    assert words in str(error.value)


def test_files_that_are_no_pictures_are_named(client: Client, tmp_path: Path) -> None:
    good, bad, empty = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "empty.png"
    good.write_bytes(encoded(".png"))
    bad.write_bytes(b"no picture")
    empty.write_bytes(b"")
    with pytest.raises(InputError, match=r"bad\.png: "):
        client.infer([good, bad])
    with pytest.raises(InputError, match=r"empty\.png.*is empty"):
        client.infer([empty])
    with pytest.raises(InputError, match="cannot be read"):
        client.infer([tmp_path])


def test_a_token(start: Start, engine: Engine) -> None:
    url = start(token="abcdefgh12")
    frame = picture(48, 64, seed=1)
    check(Client(url, token="abcdefgh12").infer(frame), engine.infer(frame))
    for wrong in ("", "abcdefgh13"):
        with pytest.raises(ServerError, match=r"asks for a token.*token=") as error:
            Client(url, token=wrong)
        assert error.value.status == 401


def test_what_a_server_refuses(start: Start) -> None:
    url = start(max_body=40_000)
    with Client(url) as client, pytest.raises(ServerError) as error:
        client.infer(picture(200, 300))
    # Whether the sentence comes through before the server hangs up is the network's affair.
    assert "send smaller frames" in str(error.value) or "takes requests of this size" in str(error.value)
    assert error.value.status in (413, None)
    with pytest.raises(ServerError, match=r"there is no model 'other'; it is called 'served' \(status 404\)"):
        Client(url, "other")


def test_another_spec_behind_the_same_name(client: Client) -> None:
    client.spec = dataclasses.replace(client.spec, kpt_shape=(5, 3))
    with pytest.raises(ServerError, match="keypoints has the shape"):
        client.infer(picture(48, 64, seed=1))


def test_after_a_fork(client: Client, engine: Engine) -> None:
    frame = picture(48, 64, seed=1)
    expected = engine.infer(frame)
    check(client.infer(frame), expected)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"same" if same(client.infer(frame)[0], expected[0]) else b"other")
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    check(client.infer(frame), expected)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"same"
    os.waitpid(child, 0)


def test_a_server_that_was_started_again(engine: Engine, tmp_path: Path) -> None:
    fields = onnx_models.spec_fields("heads", names=["runner"])
    path = onnx_models.write_model(tmp_path / "other.onnx", metadata={"trtpose": json.dumps(fields)})
    other = Engine(path, conf=0.05)
    frame = picture(48, 64, seed=1)
    with running([engine]) as url:
        client = Client(url)
        check(client.infer(frame), engine.infer(frame))
    with pytest.raises(ServerError, match="nothing listens there"):
        client.infer(frame)
    assert not client.ready()
    # Under the same name and with arrays of the same shapes, but they mean something else.
    with running([other], port=int(url.rpartition(":")[2])):
        check(client.infer(frame), other.infer(frame))
        assert client.spec.names == ("runner",)
