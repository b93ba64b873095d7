# SPDX-License-Identifier: Apache-2.0
"""The live view of a run, asked by programs."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import Generator
from typing import Any

import cv2
import numpy as np
import pytest

from support import FakeEngine, make_poses, picture
from trtpose.sources import Frame
from trtpose.sources.frame import Counters

from .live_support import Cameras, View, until, viewed, with_ids

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture
def view() -> Generator[View]:
    with viewed() as made:
        yield made


class Viewer:
    """Somebody who looks."""

    def __init__(self, view: View, **options: Any) -> None:
        self.socket = client.connect(f"{view.url.replace('http', 'ws')}/v1/live", **options)

    def __enter__(self) -> Viewer:
        self.socket.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.socket.__exit__(*error)

    def say(self, **values: Any) -> None:
        self.socket.send(json.dumps(values))

    def states(self) -> list[dict[str, Any]]:
        """Of the next message on states; pictures before it are let go by."""
        while not isinstance(message := self.socket.recv(timeout=120), str):
            pass
        return json.loads(message)["sources"]

    def picture(self) -> tuple[dict[str, Any], Any]:
        """The next picture and what came with it; messages on states before it are let go by."""
        while not isinstance(message := self.socket.recv(timeout=120), bytes):
            pass
        (size,) = struct.unpack_from("<I", message)
        head = json.loads(message[4 : 4 + size])
        return head, cv2.imdecode(np.frombuffer(message[4 + size :], np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def encoded_pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the pictures that were encoded."""
    from trtpose.serving import live

    made: list[int] = []
    plain = live._jpeg

    def jpeg(shot: Any, side: int, drawn: bool) -> Any:
        made.append(shot.number)
        return plain(shot, side, drawn)

    monkeypatch.setattr(live, "_jpeg", jpeg)
    return made


def test_pictures_and_people_of_every_source(view: View) -> None:
    image = picture(900, 1600, seed=3)
    poses = with_ids(image.shape[:2], 4, 7)
    view.see(0, image=image, poses=poses)
    view.see(1, index=5)
    with Viewer(view) as viewer:
        found = {head["position"]: (head, shown) for head, shown in (viewer.picture(), viewer.picture())}
        assert sorted(found) == [0, 1]
        head, shown = found[0]
        assert {key: head[key] for key in ("width", "height", "poses")} == poses.to_dict()
        assert [person["id"] for person in head["poses"]] == [4, 7]
        assert shown.shape == (360, 640, 3)
        assert np.abs(cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA) - shown.astype(float)).mean() < 4
        assert found[1][0]["frame"] == 5
        assert found[1][1].shape == (120, 160, 3)
        viewer.say(shown=0)
        viewer.say(only=[0], large=True)
        head, shown = viewer.picture()
        assert (head["position"], shown.shape) == (0, (720, 1280, 3))


def test_what_is_said_of_sources(view: View) -> None:
    view.see(0, poses=with_ids((120, 160), 3, 8))
    view.cameras.set(0, read=12, dropped=3, reconnects=1, age=0.0312)
    with Viewer(view) as viewer:
        door, yard = viewer.states()
        assert door.pop("since") >= 0
        figures = {"read": 12, "dropped": 3, "reconnects": 1, "age": 0.0312, "frame": 0, "people": 2, "ids": [3, 8]}
        assert door == {"position": 0, "name": "door", "state": "connected", "why": "", **figures}
        assert (yard["state"], yard["people"], yard["since"], yard["age"]) == ("waiting", None, None, None)
        view.cameras.set(1, trouble="broke off (the server ended it)")
        while (yard := viewer.states()[1])["state"] == "waiting":
            pass
        assert (yard["state"], yard["why"]) == ("reconnecting", "broke off (the server ended it)")
    listed = httpx.get(f"{view.url}/v1/sources").json()["sources"]
    assert [one["state"] for one in listed] == ["connected", "reconnecting"]


@pytest.mark.parametrize(
    ("counters", "state"),
    [
        (Counters("x"), "waiting"),
        (Counters("x", trouble="the connection is refused"), "reconnecting"),
        (Counters("x", read=1), "connected"),
        (Counters("x", read=1, trouble="broke off"), "reconnecting"),
        (Counters("x", read=1, ended=True), "ended"),
        (Counters("x", trouble="no such file", ended=True), "ended"),
    ],
)
def test_states(counters: Counters, state: str) -> None:
    from trtpose.serving.live import state_of

    found = state_of(0, counters, None, 0.0)
    assert (found["state"], found["why"]) == (state, counters.trouble)


def test_the_newest_frame_wins(view: View) -> None:
    with Viewer(view) as viewer:
        until(lambda: bool(view.live.viewers))
        view.see(0, index=0)
        assert viewer.picture()[0]["frame"] == 0
        for index in range(1, 50):
            view.see(0, index=index)
        viewer.say(shown=0)  # the next comes after this alone, and is the newest
        assert viewer.picture()[0]["frame"] == 49
        view.see(1, index=3)  # another source does not wait for it
        assert viewer.picture()[0]["position"] == 1


def test_the_run_waits_for_nobody(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a picture is being encoded, which here ends when the run has gone on, and one viewer reads nothing."""
    from trtpose.serving import live

    encoding, gone_on = threading.Event(), threading.Event()
    plain = live._jpeg

    def jpeg(*given: Any) -> Any:
        encoding.set()
        assert gone_on.wait(60)
        return plain(*given)

    monkeypatch.setattr(live, "_jpeg", jpeg)
    with Viewer(view), Viewer(view) as viewer:
        until(lambda: len(view.live.viewers) == 2)
        view.see(0, index=0)
        assert encoding.wait(60)
        for index in range(1, 300):
            view.see(0, index=index)
        gone_on.set()
        assert viewer.picture()[0]["frame"] < 300
        viewer.say(shown=0)
        assert viewer.picture()[0]["frame"] == 299


def test_without_viewers_nothing_is_encoded(view: View, encoded_pictures: list[int]) -> None:
    for index in range(20):
        view.see(0, index=index)
    assert httpx.get(f"{view.url}/v1/sources").json()["sources"][0]["frame"] == 19
    with Viewer(view) as viewer:
        assert viewer.picture()[0]["frame"] == 19
        assert len(encoded_pictures) == 1
        viewer.say(shown=0)
        viewer.say(only=[])  # as a page that is in the background
        until(lambda: all(one.only == frozenset() for one in view.live.viewers))
        view.see(0, index=20)
        while viewer.states()[0]["frame"] != 20:
            pass
        assert len(encoded_pictures) == 1
    until(lambda: not view.live.viewers)
    view.see(0, index=21)
    assert len(encoded_pictures) == 1


def test_a_picture_is_encoded_once_for_all(view: View, encoded_pictures: list[int]) -> None:
    view.see(0)
    with Viewer(view) as one, Viewer(view) as two:
        assert np.array_equal(one.picture()[1], two.picture()[1])
    assert encoded_pictures == [1]


def test_a_picture_that_no_jpeg_can_hold_stops_nothing(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtpose.serving import live

    plain = live._jpeg
    asked: list[int] = []

    def jpeg(shot: Any, side: int, drawn: bool) -> Any:
        asked.append(shot.number)
        return None if shot.frame.index == 0 else plain(shot, side, drawn)

    monkeypatch.setattr(live, "_jpeg", jpeg)
    view.see(0, index=0)
    assert httpx.get(f"{view.url}/v1/sources/0/picture").status_code == 400
    with Viewer(view) as viewer:
        viewer.states()
        viewer.states()
        assert len(asked) == 2  # by the program, and once for the page
        view.see(0, index=1)
        assert viewer.picture()[0]["frame"] == 1


def test_pictures_for_programs(view: View) -> None:
    image = picture(240, 320, seed=1)
    before = image.copy()
    frame = view.see(1, image=image)
    assert frame.image is not None
    assert not frame.image.flags.writeable  # whoever draws on it gets a copy
    found = {}
    for drawn in ("", "?drawn=0"):
        answer = httpx.get(f"{view.url}/v1/sources/1/picture{drawn}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        found[drawn] = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(float)
    assert np.abs(found["?drawn=0"] - before).mean() < 3
    drawn = make_poses(2, image.shape[:2]).draw(before.copy())
    assert np.abs(found[""] - drawn).mean() < 6
    assert np.abs(found[""] - before).mean() > 6
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/sources/0/picture", 404, "no frame of a source '0'"),
        ("GET", "/v1/sources/x/picture", 404, "no frame of a source 'x'"),
        ("GET", "/v1/sources/1/picture?drawn=yes", 400, "drawn is 'yes'"),
        ("POST", "/v1/sources", 405, "POST does not go with this path"),
        ("GET", "/v1/poses", 404, "/v1/sources/N/picture"),
        ("GET", "/page/none.js", 404, "no such file of the page"),
    ],
)
def test_what_there_is_not(view: View, method: str, path: str, status: int, words: str) -> None:
    view.see(1)
    answer = httpx.request(method, view.url + path)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_messages_that_mean_nothing_change_nothing(view: View) -> None:
    view.see(0)
    with Viewer(view) as viewer:
        viewer.picture()
        for text in ("", "x", "[]", "[" * 5000, '{"shown": "0"}', '{"shown": 1e400}', '{"only": {}}', '{"shown": 99}'):
            viewer.socket.send(text)
        viewer.socket.send(b"\0" * 100)
        viewer.say(only=[0, "a", None], shown=0)
        view.see(0, index=1)
        assert viewer.picture()[0]["frame"] == 1


def test_who_may_look() -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    with viewed() as view:
        address = view.url.replace("http", "ws") + "/v1/live"
        assert httpx.get(view.url, headers={"Origin": "https://evil.example"}).status_code == 403
        assert httpx.get(view.url).headers["Content-Type"] == "text/html; charset=utf-8"
        assert httpx.get(f"{view.url}/v1/sources", headers={"Host": "evil.example"}).status_code == 421
        with pytest.raises(InvalidStatus, match="403"), client.connect(address, origin="https://evil.example"):
            pass
        with client.connect(address, origin=view.url) as good:
            assert good.recv(timeout=120)
    with viewed(token="correct-horse", hosts=()) as view:
        address = view.url.replace("http", "ws") + "/v1/live"
        assert httpx.get(view.url).status_code == 200  # the page, which asks for the token
        for path in ("/v1/sources", "/v1/model", "/v1/sources/0/picture"):
            assert httpx.get(view.url + path).status_code == 401
        assert httpx.get(f"{view.url}/v1/sources", headers={"Authorization": "Bearer correct-horse"}).status_code == 200
        with pytest.raises(InvalidStatus, match="403"), client.connect(address):
            pass
        with client.connect(address, subprotocols=["trtpose", "trtpose-token.correct-horse"]) as good:
            assert good.subprotocol == "trtpose"
            assert good.recv(timeout=120)
    with viewed(max_streams=1) as view, Viewer(view) as viewer:
        viewer.states()
        with Viewer(view) as second, pytest.raises(ConnectionClosed, match="as many as may look"):
            second.socket.recv(timeout=120)


def test_the_end_of_the_run() -> None:
    with viewed() as view:
        view.see(0)
        viewer = Viewer(view).__enter__()
        viewer.picture()
        view.cameras.set(0, ended=True)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("trtpose-live")]
        assert threads
    states = [json.loads(message)["sources"] for message in viewer.socket if isinstance(message, str)]
    assert states[-1][0]["state"] == "ended"
    assert (viewer.socket.protocol.close_code, viewer.socket.protocol.close_reason) == (1000, "the run has ended")
    assert not any(thread.is_alive() for thread in threads)
    assert view.see(0).image is not None  # a frame that comes late is nobody's trouble


def test_the_end_is_told_to_who_waits_for_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is made some time after the end, in which the server would have broken the connection off."""
    from trtpose.serving import live, live_app

    encoding = threading.Event()
    plain = live._jpeg
    monkeypatch.setattr(live_app, "_FAREWELL", 60.0)
    with viewed() as view:

        def jpeg(*given: Any) -> Any:
            encoding.set()
            until(lambda: view.live.ended)
            time.sleep(0.5)
            return plain(*given)

        monkeypatch.setattr(live, "_jpeg", jpeg)
        view.see(0)
        viewer = Viewer(view).__enter__()
        assert encoding.wait(60)
    assert list(viewer.socket)
    assert (viewer.socket.protocol.close_code, viewer.socket.protocol.close_reason) == (1000, "the run has ended")


def test_of_files_few_are_kept_and_of_many_few_are_listed() -> None:
    from trtpose.serving import live as module
    from trtpose.serving.settings import Settings

    class Folder(Cameras):
        asked = 0

        def is_live(self, position: int) -> bool:
            return position == 150

        def counters_of(self, position: int) -> Counters:
            self.asked += 1
            return super().counters_of(position)

    folder = Folder(*(f"{number}.jpg" for number in range(200)))
    live = module.Live(FakeEngine(), folder, Settings())  # pyright: ignore[reportArgumentType]
    for position in range(100):
        image = picture(40, 60)
        live.add(Frame(image, f"{position}.jpg", position=position), make_poses(1, (40, 60)))
    assert [shot.frame.position for shot in live.newest()] == list(range(92, 100))
    assert [state["position"] for state in live.states()] == [*range(92, 100), 150]
    assert folder.asked == 9  # of a hundred thousand pictures each would take long
    live.close()


def test_a_viewer_gets_no_more_than_there_is_to_see() -> None:
    from trtpose.serving.live import PAUSE, Shot, Viewer

    def shot(number: int, position: int) -> Shot:
        return Shot(number, Frame(picture(4, 4), "x", position=position), make_poses(1, (4, 4)), 0.0)

    async def go() -> None:
        viewer = Viewer()
        first = [shot(1, 0), shot(2, 1)]
        assert viewer.due(first, 10.0)[0] == first
        viewer.send(first[0], 10.0)
        assert viewer.due(first, 10.0)[0] == [first[1]]
        viewer.shown(0)
        assert viewer.due(first, 10.0)[0] == [first[1]]  # it has the first
        second = [shot(3, 0)]
        due, rest = viewer.due(second, 10.01)
        assert due == []
        assert rest == pytest.approx(PAUSE - 0.01)
        assert viewer.due(second, 10.0 + PAUSE + 1e-6)[0] == second
        viewer.large = True
        assert viewer.due(second, 10.01)[0] == second

    asyncio.run(go())
