# SPDX-License-Identifier: Apache-2.0
"""Processes forked from one that uses an engine: what was opened before says so at once, what is opened after works."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import engine_support
import quantize_models
from process_support import run, write_pictures

pytest.importorskip("trtpose._core", reason="the native part is not built")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_support.write_models(tmp_path_factory.mktemp("models")) / "dynamic.onnx"


_CHILD = """
def said(work):
    began = time.monotonic()
    try:
        work()
    except trtpose.Error as error:
        assert time.monotonic() - began < 5, "not at once"
        return f"{type(error).__name__}: {error}"
    return "nothing"

def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_what_was_opened_before_a_fork_and_what_after(model: Path, tmp_path: Path):
    code = """
    engine = trtpose.Engine(sys.argv[1], batch=2)
    clone = engine.clone()
    on_device = engine.infer(pictures(3), output="device")
    trtpose.Engine(sys.argv[1]).infer(pictures(1))  # one that is closed again
    frames = pictures(5)
    counts = np.from_dlpack(on_device.counts).tolist()
    expected = values(engine.infer(frames))
    assert any(boxes for boxes, *_ in expected)
    reading = Sources(sys.argv[2], depth=1)
    iterator = iter(reading)
    next(iterator)
    waiting = Sources(sys.argv[2])
    child = os.fork()
    if child == 0:
        for one in (engine, clone):
            for work in (lambda: one.infer(frames), lambda: one.infer([]), one.clone, lambda: one.memory,
                         lambda: one.timings, lambda: one.infer(frames, output="device")):
                print(said(work))
        print(said(lambda: next(iterator)))
        print(said(lambda: next(iter(reading))))
        reading.close()
        on_device.synchronize()
        assert np.from_dlpack(on_device.counts).tolist() == counts
        del one, work, engine, clone, on_device, reading, iterator
        assert len(list(waiting)) == 6
        fresh = trtpose.Engine(sys.argv[1], batch=2)
        assert values(fresh.infer(frames)) == expected
        assert values(fresh.clone().infer(frames)) == expected
        sys.stdout.flush()
        sys.exit(7)
    print(status_of(child))
    assert values(engine.infer(frames)) == expected
    assert values(clone.infer(frames)) == expected
    assert len(list(iterator)) == 5
    """
    out = run((_CHILD, code), model, write_pictures(tmp_path / "photos", 6)).splitlines()
    engine = (
        "DeviceError: model dynamic: the engine was opened before this process was forked, and its threads stayed "
        "behind; open a new Engine in this process"
    )
    sources = (
        f"InputError: {tmp_path / 'photos' / '000.jpg'}: was being read before this process was forked, and the thread "
        "that reads stayed behind; make new Sources in this process"
    )
    # A generator that has raised is at its end, so the second asks for a new one.
    assert out == [engine] * 12 + [sources, sources, "7"]


def test_forks_while_other_threads_are_at_work(model: Path, tmp_path: Path):
    """In the child the locks of those threads stay locked; nothing may wait for one."""
    code = """
    import faulthandler
    engine = trtpose.Engine(sys.argv[1])
    expected = values(engine.infer(pictures(2)))
    def work():
        while True:
            engine.infer(pictures(3))
    def opening():
        while True:
            trtpose.Engine(sys.argv[1], device="cpu").infer(pictures(1))
    def reading():
        while True:
            list(Sources(sys.argv[2]))
    for body in (work, work, opening, reading):
        threading.Thread(target=body, daemon=True).start()
    random = np.random.default_rng(1)
    opened = 0
    for _ in range(int(sys.argv[3])):
        time.sleep(random.uniform(0, 0.05))
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(50, exit=True)  # should it hang
            assert "open a new Engine" in said(lambda: engine.infer(pictures(1)))
            del engine
            assert len(list(Sources(sys.argv[2]))) == 4
            try:
                fresh = trtpose.Engine(sys.argv[1])
            except trtpose.DeviceError as error:
                assert "OpenVINO cannot be used in this process" in str(error) and "spawn" in str(error)
                sys.exit(1)
            assert values(fresh.infer(pictures(2))) == expected
            sys.exit(0)
        status = status_of(child)
        assert status in (0, 1), status
        opened += status == 0
    print(opened)
    """
    times = 12
    opened = int(run((_CHILD, code), model, write_pictures(tmp_path / "photos", 4), times))
    # A child without OpenVINO, because another thread would not leave it, is rare.
    assert opened > times // 2


_POOL = """
import json, multiprocessing
context = multiprocessing.get_context("fork")
frames = pictures(4)
own = None

def open_own():
    global own
    own = trtpose.Engine(sys.argv[1])

def with_own(number):
    return values(own.infer(frames[number]))

def with_parents(number):
    return values(engine.infer(frames[number]))
"""


@pytest.mark.parametrize("before", [False, True], ids=["first engine in the initializer", "another before the pool"])
def test_a_pool_whose_initializer_opens_the_engine(model: Path, before: bool):
    code = """
    if sys.argv[2] == "True":
        engine = trtpose.Engine(sys.argv[1])
        engine.infer(frames)
    with context.Pool(2, open_own) as pool:
        found = pool.map(with_own, range(4))
    engine = trtpose.Engine(sys.argv[1])
    assert found == [values(engine.infer(frame)) for frame in frames]
    """
    run((_POOL, code), model, before)


def test_a_pool_that_uses_the_engine_made_before_it(model: Path):
    code = """
    engine = trtpose.Engine(sys.argv[1])
    with context.Pool(2) as pool:
        try:
            pool.map(with_parents, range(4))
        except trtpose.DeviceError as error:
            print(error)
    """
    assert "open a new Engine in this process" in run((_POOL, code), model)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_workers_of_a_data_loader(model: Path, tmp_path: Path):
    """The engine in the dataset is the parent's and says so; one that a worker opens, and Sources there, work."""
    code = """
    import json
    from torch.utils.data import DataLoader, Dataset
    from trtpose.sources import read_picture

    class Poses(Dataset):
        def __init__(self, folder, engine=None):
            self.files = [str(path) for path in Sources(folder).files]
            self.engine = engine
        def __len__(self):
            return len(self.files)
        def __getitem__(self, index):
            if self.engine is None:
                self.engine = trtpose.Engine(sys.argv[1])
            (frame,) = Sources(self.files[index])
            assert np.array_equal(frame.image, read_picture(self.files[index]))
            return values(self.engine.infer(frame.image))

    engine = trtpose.Engine(sys.argv[1])
    list(Sources(sys.argv[2]))
    expected = [values(engine.infer(read_picture(path))) for path in Poses(sys.argv[2]).files]
    options = dict(batch_size=1, num_workers=2, multiprocessing_context="fork", collate_fn=lambda batch: batch[0])
    found = list(DataLoader(Poses(sys.argv[2]), **options))
    assert found == expected
    try:
        list(DataLoader(Poses(sys.argv[2], engine), **options))
    except trtpose.DeviceError as error:
        print(error)
    """
    out = run(code, model, write_pictures(tmp_path / "photos", 6))
    assert "open a new Engine in this process" in out


def test_quantising_in_a_forked_process(tmp_path: Path):
    """After the parent has quantised too; both find the same. ONNX Runtime's own end waits for threads that a forked
    process has not, so that the child leaves without it, as those of multiprocessing do."""
    pytest.importorskip("onnxruntime")
    quantize_models.write_small(tmp_path / "small.onnx")
    quantize_models.write_pictures(tmp_path / "pictures", 6)
    code = """
    from pathlib import Path
    from trtpose.quantize import quantize
    folder = Path(sys.argv[1])
    def made(name):
        quantize(folder / "small.onnx", folder / "pictures", output=folder / name, cache=False, max_drop=100)
        return (folder / name).read_bytes()
    before = made("parent.onnx")
    child = os.fork()
    if child == 0:
        os._exit(5 if made("child.onnx") == before else 6)
    print(status_of(child))
    """
    assert run((_CHILD, code), tmp_path) == "5\n"
