# SPDX-License-Identifier: Apache-2.0
"""Train the demo network.

Usage::

    python -m tools.demo_model.train --pool out/everyday out/turned out/varied --out out/run

Learning rate: warm-up, constant, and then in a straight line to almost nothing. The input grows from stage to stage. A
run that was interrupted goes on from OUT/checkpoint.pt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from .augment import PoolData, Stage, Steps, collate
from .evaluate import average_precision, predict
from .losses import pose_loss
from .network import PoseNet
from .optim import Muon
from .pictures import held_out
from .scene import Scene, coco
from .team import Team

VALIDATION_FIRST = 100_000
"""First index of the pictures scored during training: of the held-out seed, but none of the 500 of the final figure."""


STAGES = (Stage(160, 9500, 0.8, 2.4), Stage(224, 4600, 0.85, 1.8, calm=True), Stage(288, 1700, 0.85, 1.4, calm=True))
"""Small inputs teach most of it in a third of the time; the large ones teach where exactly a keypoint is."""


def rate(step: int, steps: int, decay: float, warm: int = 200) -> float:
    """Factor on the learning rate of ``step``, which falls over the last ``decay`` of ``steps``."""
    if step < warm:
        return (step + 1) / warm
    return max(0.005, min(1.0, (steps - step) / (decay * steps)))


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class Average:
    """Exponential moving average of parameters and buffers."""

    def __init__(self, model: PoseNet, decay: float = 0.998) -> None:
        self.model = PoseNet().to(next(model.parameters()).device).eval()
        self.model.load_state_dict(model.state_dict())
        self.decay = decay

    @torch.no_grad()
    def update(self, model: PoseNet, step: int) -> None:
        d = min(self.decay, (step + 1) / (step + 10))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - d)
            else:
                mine.copy_(theirs)


def save(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, nargs="+", required=True, help="folders of tools.demo_model.pool")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log and weights")
    parser.add_argument("--start", type=Path, help="weights to start from; layers that do not fit start afresh")
    parser.add_argument(
        "--stages",
        type=Stage.parse,
        nargs="+",
        default=STAGES,
        metavar="SIZE:STEPS:LEAST:MOST[:calm]",
        help="input height and width, number of steps, range of the views' scale (default: the recipe)",
    )
    parser.add_argument("--stop", type=int, help="stop after this step, to go on later")
    parser.add_argument("--decay", type=float, default=0.75, help="share of the steps in which the learning rate falls")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2.5e-3, help="of AdamW: heads, biases and norms")
    parser.add_argument("--muon-lr", type=float, default=0.02, help="of Muon: convolutions")
    parser.add_argument("--score-size", type=int, default=320, help="input for scores (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="processes that share every batch, one on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="threads of each of them")
    parser.add_argument("--workers", type=int, default=0, help="further processes that prepare samples, for each")
    parser.add_argument("--every", type=int, default=1000, help="steps between checkpoints and evaluations")
    parser.add_argument("--validation", type=int, default=200, help="pictures scored at each evaluation")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.device != "cpu":
        args.processes = 1
    if args.processes == 1:
        run(0, args, Team())
        return
    # One thread in each of several processes: on a busy machine barriers within each layer cost more than one per step.
    numbers = max(sum(p.numel() for p in PoseNet().parameters()), torch.get_rng_state().numel())
    torch.multiprocessing.spawn(run, (args, Team(args.processes, numbers)), args.processes)


class Training:
    """The network, its optimisers and its average, of one process of ``team``."""

    def __init__(self, args: argparse.Namespace, team: Team) -> None:
        self.team = team
        self.device = torch.device(args.device)
        self.model = PoseNet().to(self.device, memory_format=torch.channels_last)
        skip = ("heads", "maps", "near.1", "fine.2")
        named = list(self.model.named_parameters())
        muon = [p for name, p in named if p.ndim == 4 and not name.startswith(skip)]
        rest = [p for name, p in named if p.ndim != 4 or name.startswith(skip)]
        self.optimisers = {
            "muon": Muon(muon, args.muon_lr, team=team),
            "adam": torch.optim.AdamW(rest, args.lr, weight_decay=0.0),
        }
        self.rates = {"muon": args.muon_lr, "adam": args.lr}
        if args.start is not None:
            self.start_from(args.start)
        self.average = Average(self.model)

    def start_from(self, path: Path) -> None:
        """Take what fits of the weights of another training."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        state = state.get("average", state)
        own = self.model.state_dict()
        fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        self.model.load_state_dict(fits, strict=False)

    def resume(self, checkpoint: Path) -> tuple[int, list[Tensor] | None]:
        """The step to go on from, and the random state of every process at that step."""
        if not checkpoint.exists():
            return 0, None
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        print(f"going on from step {state['step']}", flush=True)
        return state["step"], state["rng"]

    def state(self, step: int, random_states: list[Tensor] | None) -> dict[str, Any]:
        """What :meth:`resume` reads."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            **{name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "rng": random_states,
            "step": step,
        }

    def learn(self, images: Tensor, targets: dict[str, Tensor], factor: float, *, maps: bool) -> Tensor:
        """One step at ``factor`` of the learning rates; returns the loss and its parts, (7,)."""
        self.model.train()
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates[name] * factor
            optimiser.zero_grad(set_to_none=True)
        x = (images.to(self.device, non_blocking=True).float() / 255).contiguous(memory_format=torch.channels_last)
        moved: dict[str, Tensor] = {k: v.to(self.device, non_blocking=True) for k, v in targets.items()}
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.model(x)
        loss, parts = pose_loss(out, moved, maps=maps)
        loss.backward()
        if self.team.processes > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            for gradient, total in zip(gradients, self.team.sum(gradients), strict=True):
                torch.div(total, self.team.processes, out=gradient)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        for optimiser in self.optimisers.values():
            optimiser.step()
        return torch.cat([loss.detach()[None], parts])


class Journal:
    """A bar, and lines of JSON about the losses since the last one and about scores."""

    def __init__(self, path: Path, bar: tqdm[Any], batch: int) -> None:
        self.file = path.open("a")
        self.bar = bar
        self.batch = batch
        self.running = torch.zeros(7)
        self.restart()

    def restart(self) -> None:
        """Count speed from now."""
        self.began, self.counted = time.monotonic(), 0

    def add(self, step: int, losses: Tensor) -> None:
        self.counted += 1
        self.bar.update()
        self.running += losses.cpu()
        if step % 50:
            return
        names = ("loss", "box", "oks", "conf", "obj", "field", "maps")
        means = {k: round(v, 4) for k, v in zip(names, (self.running / self.counted).tolist(), strict=True)}
        speed = self.counted * self.batch / (time.monotonic() - self.began)
        line = {"step": step, **means, "speed": round(speed, 1)}
        self.write(line)
        self.bar.set_postfix(line)
        self.running.zero_()
        self.restart()

    def score(self, step: int, score: dict[str, float]) -> None:
        line = {"step": step, **{k: round(v, 4) for k, v in score.items()}}
        self.write(line)
        self.bar.write(json.dumps(line))
        self.restart()

    def write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()
        self.bar.close()


def scored(model: PoseNet, scenes: list[Scene], size: int) -> dict[str, float]:
    truth = coco([(f"{i}.jpg", s) for i, s in enumerate(scenes)])
    found = predict(model, [s.image for s in scenes], size)
    return average_precision(truth, found, [i["id"] for i in truth["images"]])


def seed_everything(seed: int, threads: int) -> None:
    warnings.filterwarnings("ignore", message=r"index_reduce\(\) is in beta")  # the largest of several, order or not
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries; our own code uses generators
    cv2.setNumThreads(1)


def run(rank: int, args: argparse.Namespace, team: Team) -> None:
    """Train as process ``rank`` of ``team``; the first one logs, scores and saves."""
    team.rank = rank
    seed_everything(args.seed, args.threads)
    training = Training(args, team)
    checkpoint = args.out / "checkpoint.pt"
    first, random_states = training.resume(checkpoint)
    data = PoolData(args.pool, args.seed)
    if rank == 0:
        print(f"{len(data)} pictures", flush=True)  # fewer than were meant is another training
    steps = sum(stage.steps for stage in args.stages)
    last = min(steps, args.stop or steps)
    sampler = Steps(len(data), args.batch, first, last, args.seed, args.stages, (rank, args.processes))
    loader = DataLoader(
        data, batch_sampler=sampler, collate_fn=collate, num_workers=args.workers, worker_init_fn=_one_thread,
        prefetch_factor=4 if args.workers else None, pin_memory=training.device.type == "cuda",
    )  # fmt: skip
    scenes: list[Scene] = []
    tqdm.monitor_interval = 0  # or every process has a thread that watches a bar that only the first one shows
    bar = tqdm(total=last, initial=first, unit="step", disable=rank > 0 or not sys.stderr.isatty())
    journal = Journal(args.out / "log.jsonl", bar, args.batch)
    batches = iter(loader)  # takes a random number
    if random_states is not None:
        torch.set_rng_state(random_states[rank].cpu().clone())  # it reads past the end of a view that begins later
    for step, (images, targets) in enumerate(batches, first + 1):
        factor = rate(step - 1, steps, args.decay)
        losses = training.learn(images, targets, factor, maps=step <= args.stages[0].steps)
        saves = step % args.every == 0 or step == last
        states = team.gather(torch.get_rng_state()) if saves else None
        if rank > 0:
            continue
        training.average.update(training.model, step)
        journal.add(step, losses)
        if saves:
            save(checkpoint, training.state(step, states))
            if not scenes:
                scenes = [held_out(VALIDATION_FIRST + i) for i in range(args.validation)]
            journal.score(step, scored(training.average.model, scenes, args.score_size))
    if rank == 0:
        save(args.out / "weights.pt", training.average.model.state_dict())
    journal.close()


if __name__ == "__main__":
    main()
