# SPDX-License-Identifier: Apache-2.0
"""Calls in flight: ``Engine.submit`` and ``collect``, and what keeps several of them going."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trtpose
from command_support import real_run
from engine_support import LAYOUTS, pictures, same, write_models
from process_support import run
from support import picture, write_picture, write_video
from trtpose import Engine, Frame, InputError, Sources, Ticket
from trtpose import evaluate as evaluation
from trtpose._in_flight import beginner, overlapped


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    return Engine(models / "heads.onnx", conf=0.05)


def equal(got: list[Any], wanted: list[Any]) -> bool:
    return len(got) == len(wanted) and all(same(a, b) and a.shape == b.shape for a, b in zip(got, wanted, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# The engine


@pytest.mark.parametrize("name", [*LAYOUTS, "fixed3", "dynamic"])
def test_equal_infer_in_either_order(models: Path, name: str) -> None:
    engine = Engine(models / f"{name}.onnx", conf=0.05, rect=name == "dynamic", batch=2 if name == "dynamic" else None)
    calls = [pictures(count, seed) for seed, count in enumerate((4, 1, 7, 3))]
    wanted = [engine.infer(call) for call in calls]
    assert any(len(poses) for found in wanted for poses in found)
    for first, second in ((0, 1), (2, 3)):
        for turned in (False, True):
            tickets = {index: engine.submit(calls[index]) for index in (first, second)}
            for index in (second, first) if turned else (first, second):
                assert equal(engine.collect(tickets[index]), wanted[index])


@pytest.mark.parametrize("streams", [1, 3])
def test_any_number_of_streams_gives_the_same(models: Path, streams: int) -> None:
    engine = Engine(models / "heads.onnx", conf=0.05, streams=streams)
    frames = pictures(12)
    wanted = Engine(models / "heads.onnx", conf=0.05).infer(frames)
    assert engine.max_in_flight == streams + 1
    found: list[Any] = []
    groups = (([frame], False) for frame in frames)
    for _, poses in overlapped(groups, *beginner(engine)):
        found += poses
    assert equal(found, wanted)


def test_frames_may_be_changed_when_submit_returns(engine: Engine) -> None:
    frames = pictures(3)
    wanted = engine.infer(frames)
    ticket = engine.submit(frames)
    for frame in frames:
        frame[:] = 0
    del frames
    gc.collect()
    assert equal(engine.collect(ticket), wanted)


def test_paths_colours_thresholds_and_letterboxed_inputs(engine: Engine, tmp_path: Path) -> None:
    path = write_picture(tmp_path / "p.png", picture(50, 70, seed=1))
    assert equal(engine.collect(engine.submit(path)), engine.infer(path))
    (frame,) = pictures(1)
    turned = engine.submit(frame, color="rgb")
    strict = engine.submit(frame, max_det=1)
    assert equal(engine.collect(turned), engine.infer(frame, color="rgb"))
    assert [len(poses) for poses in engine.collect(strict)] == [1]
    tensor = trtpose.letterbox(frame, engine.imgsz)[None]
    assert equal(engine.collect(engine.submit(tensor)), engine.infer(tensor))
    assert engine.collect(engine.submit([])) == []


def test_what_is_wrong_is_said_and_the_others_go_on(engine: Engine) -> None:
    frames = pictures(2)
    wanted = engine.infer(frames)
    first = engine.submit(frames)
    with pytest.raises(InputError, match="frame 1"):
        engine.submit([frames[0], np.zeros((4, 4), np.uint8)])
    with pytest.raises(InputError, match="conf"):
        engine.submit(frames, conf=3)
    second = engine.submit(frames)
    with pytest.raises(InputError, match="2 calls are in flight"):
        engine.submit(frames)
    assert equal(engine.infer(frames), wanted)
    other = engine.clone()
    with pytest.raises(InputError, match="by the engine that gave it"):
        other.collect(first)
    for wrong in (first.number, None, [first]):
        with pytest.raises(InputError, match="give what submit returned"):
            engine.collect(wrong)  # pyright: ignore[reportArgumentType]
    assert equal(engine.collect(second), wanted)
    assert equal(engine.collect(first), wanted)
    with pytest.raises(InputError, match="collected once"):
        engine.collect(first)
    with pytest.raises(InputError, match="no call of ticket"):
        engine.collect(Ticket(2**63))
    for number in (-1, 2**64, "1", None, 1.0):
        with pytest.raises(InputError, match="give what submit returned"):
            engine.collect(Ticket(number))  # pyright: ignore[reportArgumentType]


def test_threads_take_turns(engine: Engine) -> None:
    frames = pictures(3)
    wanted = engine.infer(frames)
    failures: list[Any] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert equal(engine.collect(engine.submit(frames)), wanted)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(engine.max_in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


class Stop(Exception):
    pass


def test_an_interrupt_takes_no_place(models: Path) -> None:
    """One that comes while a frame is read: Python raises it when submit's native half has begun the call.

    In a program of its own: one that closes OpenVINO's Cores may not outlive a signal (docs/how-to/debug.md).
    """
    code = """
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    engine = trtpose.Engine(sys.argv[1], conf=0.05)
    frame = np.zeros((2160, 3840, 3), np.uint8)
    signal.signal(signal.SIGUSR1, stop)
    sys.setswitchinterval(60.0)  # the other thread has its turn when submit lets go of Python, not before
    for _ in range(10):
        begun = threading.Event()

        def interrupt(begun=begun):
            begun.wait()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        thread = threading.Thread(target=interrupt)
        thread.start()
        ticket = None
        try:
            begun.set()
            ticket = engine.submit(frame)
            thread.join()
            print("the interrupt was lost")
        except Stop:
            thread.join()
        if ticket is not None:
            engine.collect(ticket)
        for other in [engine.submit(pictures(1)) for _ in range(engine.max_in_flight)]:
            engine.collect(other)
    print("end")
    """
    assert run((code,), models / "heads.onnx").split("\n") == ["end", ""]


def test_an_engine_goes_and_a_program_ends_with_calls_in_flight(models: Path) -> None:
    code = """
    for _ in range(5):
        engine = trtpose.Engine(sys.argv[1], batch=2)
        engine.submit(pictures(3))
        engine.submit(pictures(5))
    kept = [trtpose.Engine(sys.argv[1], streams=3) for _ in range(3)]
    for engine in kept:
        for _ in range(engine.max_in_flight):
            engine.submit(pictures(1))
    print("end")
    """
    assert run((code,), models / "dynamic.onnx").split() == ["end"]


def test_a_fork_waits_for_what_is_in_flight(models: Path) -> None:
    code = """
    engine = trtpose.Engine(sys.argv[1])
    wanted = values(engine.infer(pictures(2)))
    tickets = [engine.submit(pictures(2)) for _ in range(2)]
    child = os.fork()
    if child == 0:
        for work in (lambda: engine.collect(tickets[0]), lambda: engine.submit(pictures(1))):
            try:
                work()
            except trtpose.DeviceError as error:
                assert "open a new Engine in this process" in str(error)
            else:
                sys.exit(1)
        del engine
        assert values(trtpose.Engine(sys.argv[1]).infer(pictures(2))) == wanted
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert [values(engine.collect(ticket)) for ticket in tickets] == [wanted, wanted]
    """
    assert run((code,), models / "dynamic.onnx").split() == ["7"]


# ---------------------------------------------------------------------------------------------------------------------
# Keeping several going


def recorded(log: list[str]) -> Callable[[int], Callable[[], int]]:
    def begin(group: int) -> Callable[[], int]:
        log.append(f"begin {group}")

        def finish() -> int:
            log.append(f"finish {group}")
            return group * group

        return finish

    return begin


def test_results_are_in_order_and_no_more_than_asked_are_begun() -> None:
    log: list[str] = []
    groups = ((i, False) for i in range(4))
    assert list(overlapped(groups, recorded(log), 2)) == [(i, i * i) for i in range(4)]
    assert log == ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "begin 3", "finish 2", "finish 3"]


def test_what_is_wanted_at_once_waits_for_no_other() -> None:
    log: list[str] = []
    asked: list[int] = []

    def groups() -> Iterator[tuple[int, bool]]:
        for i in range(4):
            asked.append(i)
            yield i, i % 2 == 1

    results = overlapped(groups(), recorded(log), 3)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    assert asked == [0, 1]
    assert [group for group, _ in results] == [2, 3]


def test_what_is_wanted_at_once_is_asked_again_after_each() -> None:
    log: list[str] = []
    waiting = iter([True, True, False, False, True, False, False])  # further frames, each time that somebody looks

    def wanted(begun: int) -> bool:
        return begun >= 2 or not next(waiting)

    assert [group for group, _ in overlapped(((i, wanted) for i in range(5)), recorded(log), 3)] == [0, 1, 2, 3, 4]
    # Two at a time while others wait; the first of two is finished before a third is asked for.
    assert log[:5] == ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1"]
    assert log[5:] == ["finish 2", "begin 3", "finish 3", "begin 4", "finish 4"]


def test_a_failure_comes_behind_the_results_before_it() -> None:
    def groups() -> Iterator[tuple[int, bool]]:
        yield 0, False
        yield 1, False
        raise InputError("no more")

    log: list[str] = []
    with pytest.raises(InputError, match="no more"):
        list(overlapped(groups(), recorded(log), 3))
    assert log[-2:] == ["finish 0", "finish 1"]

    def begin(group: int) -> Callable[[], int]:
        if group == 2:
            raise InputError("not this one")
        return recorded(log)(group)

    log.clear()
    with pytest.raises(InputError, match="not this one"):
        list(overlapped(((i, False) for i in range(9)), begin, 3))
    assert log[-2:] == ["finish 0", "finish 1"]


def test_left_early_nothing_stays_in_flight(engine: Engine, tmp_path: Path) -> None:
    log: list[str] = []
    results = overlapped(((i, False) for i in range(9)), recorded(log), 3)
    next(results)
    results.close()
    assert log == ["begin 0", "begin 1", "begin 2", "finish 0", "finish 1", "finish 2"]
    video = write_video(tmp_path / "v.avi", frames=40)
    for _ in engine.stream(video):
        break
    gc.collect()
    for ticket in [engine.submit(pictures(1)) for _ in range(engine.max_in_flight)]:
        engine.collect(ticket)


def test_streams_of_one_engine_go_on_beside_each_other(engine: Engine) -> None:
    frames = pictures(9)
    wanted = [engine.infer(frame)[0] for frame in frames]
    begun = engine.stream(frames)  # holds all of the places that the engine has
    found = [next(begun)[1]]
    assert equal([poses for _, poses in engine.stream(frames)], wanted)
    together = list(zip(engine.stream(frames), engine.stream(frames), strict=True))
    for side in (0, 1):
        assert equal([pair[side][1] for pair in together], wanted)
    assert equal([*found, *(poses for _, poses in begun)], wanted)
    in_threads: list[list[Any]] = [[], [], []]
    threads = [threading.Thread(target=lambda kept=kept: kept.extend(engine.stream(frames))) for kept in in_threads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kept in in_threads:
        assert equal([poses for _, poses in kept], wanted)


def test_an_evaluation_that_ends_early_leaves_nothing_in_flight(engine: Engine) -> None:
    """Whoever keeps the error keeps all that was on its way."""
    found = iter([[Frame(frame, f"{i}.png", position=i)] for i, frame in enumerate(pictures(6))])
    truth: Any = SimpleNamespace(images=[], categories={})  # none of them is annotated
    with pytest.raises(IndexError) as kept:
        evaluation._infer(found, truth, *beginner(engine))
    for ticket in [engine.submit(pictures(1)) for _ in range(engine.max_in_flight)]:
        engine.collect(ticket)
    assert kept.tb is not None


def test_stream_overlaps_what_is_at_hand_alone(engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    files = [write_picture(tmp_path / f"{i}.png", picture(50, 70, seed=i)) for i in range(5)]
    wanted = [engine.infer(str(path))[0] for path in files]
    open_calls, most = 0, 0
    submit, collect = Engine.submit, Engine.collect

    def counted(self: Engine, *given: Any, **named: Any) -> Ticket:
        nonlocal open_calls, most
        open_calls += 1
        most = max(most, open_calls)
        return submit(self, *given, **named)

    def taken(self: Engine, ticket: Ticket) -> Any:
        nonlocal open_calls
        open_calls -= 1
        return collect(self, ticket)

    monkeypatch.setattr(Engine, "submit", counted)
    monkeypatch.setattr(Engine, "collect", taken)
    assert equal([poses for _, poses in engine.stream(files)], wanted)
    assert (most, open_calls) == (2, 0)
    most = 0
    with Sources(files) as lent:
        assert equal([poses for _, poses in engine.stream(lent)], wanted)
    assert (most, open_calls) == (1, 0)


def test_an_interrupt_before_a_reader_starts_is_what_is_raised(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    def start(_: threading.Thread) -> None:
        raise Stop

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Stop):
        list(engine.stream([picture(50, 70, seed=1)]))


def test_sources_at_hand(tmp_path: Path) -> None:
    still = write_picture(tmp_path / "p.png", picture(50, 70, seed=1))
    video = write_video(tmp_path / "v.avi", frames=2)
    assert Sources([still, video, picture(20, 30, seed=2)]).at_hand
    for other in (0, "rtsp://127.0.0.1:1/x", "http://127.0.0.1:1/x"):
        assert not Sources([still, other]).at_hand


def test_what_acts_as_an_engine_needs_no_submit() -> None:
    class Plain:
        def infer(self, images: list[Any], *, thresholds: Any) -> list[Any]:
            assert thresholds is None
            return [image * 2 for image in images]

    begin, most = beginner(Plain())  # pyright: ignore[reportArgumentType]
    assert most == 1
    groups: Iterator[tuple[list[Any], bool]] = (([i], False) for i in range(3))
    assert [found for _, found in overlapped(groups, begin, most)] == [[0], [2], [4]]


def test_several_runs_at_a_time_write_the_same(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    make = trtpose.Engine

    def counted(*given: Any, **named: Any) -> Engine:
        opened.append(named)
        return make(*given, **named)

    monkeypatch.setattr(trtpose, "Engine", counted)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(9):
        write_picture(photos / f"{i}.png", picture(50, 70, seed=i))
    written: list[bytes] = []
    for options in ((), ("--latency",), ("--throughput",), ("--throughput", "--threads", "3")):
        report = tmp_path / "out.json"
        status, _, err = real_run(
            capsys, "infer", models / "heads.onnx", photos, "--conf", "0.05", "--json", report, *options
        )
        assert (status, err) == (0, "")
        written.append(report.read_bytes())
    assert len(set(written)) == 1
    cores = len(os.sched_getaffinity(0))
    unasked = cores if 1 < cores <= 2 else None  # nine pictures are enough for two at a time
    assert [named.get("streams") for named in opened] == [unasked, None, cores, 3]
    for verb in (("infer",), ("eval", "--images", photos, "--annotations", "a.json")):
        with pytest.raises(SystemExit):
            real_run(capsys, *verb, "m.onnx", "--latency", "--throughput")
        assert "not allowed with" in capsys.readouterr().err


def test_frames_that_nobody_waits_for(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / f"{i}.png", picture(50, 70, seed=i))
    assert Sources(tmp_path).frames_at_hand == 3
    assert Sources([tmp_path, picture(20, 30)]).frames_at_hand == 4
    assert Sources([tmp_path, 0]).frames_at_hand == 0
    assert Sources([tmp_path, "http://127.0.0.1:9/a.jpg"]).frames_at_hand == 0
    (tmp_path / "v.mp4").write_bytes(b"")
    assert Sources(tmp_path).frames_at_hand == float("inf")
    some = Sources(tmp_path)
    some.pass_over([3])
    assert some.frames_at_hand == 3


def test_no_more_runs_at_a_time_than_an_engine_takes(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of very many cores; the engine itself says what is too many."""
    asked: list[int] = []

    def opened(*_: Any, **named: Any) -> Engine:
        asked.append(named["streams"])
        raise InputError("not opened")

    with pytest.raises(InputError, match="streams 257 must lie between 1 and 256"):
        Engine(models / "heads.onnx", streams=257)
    monkeypatch.setattr(trtpose, "Engine", opened)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(384)))
    photo = write_picture(tmp_path / "p.png", picture(50, 70, seed=1))
    for more in ((), ("--threads", "300"), ("--threads", "5")):
        status, _, err = real_run(capsys, "infer", models / "heads.onnx", photo, "--throughput", *more)
        assert (status, "not opened" in err) == (1, True)
    assert asked == [256, 256, 5]
