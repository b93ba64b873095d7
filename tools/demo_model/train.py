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


def run(rank: int, args: argparse.Namespace, team: Team) -> None:
    """Train as process ``rank`` of ``team``; the first one logs, scores and saves."""
    team.rank = rank
    warnings.filterwarnings("ignore", message=r"index_reduce\(\) is in beta")  # the largest of several, order or not
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002 - for libraries; our own code uses generators
    cv2.setNumThreads(1)
    device = torch.device(args.device)
    model = PoseNet().to(device, memory_format=torch.channels_last)
    skip = ("heads", "maps", "near.1", "fine.2")
    muon = [p for name, p in model.named_parameters() if p.ndim == 4 and not name.startswith(skip)]
    rest = [p for name, p in model.named_parameters() if p.ndim != 4 or name.startswith(skip)]
    optimisers = {
        "muon": Muon(muon, args.muon_lr, team=team),
        "adam": torch.optim.AdamW(rest, args.lr, weight_decay=0.0),
    }
    rates = {"muon": args.muon_lr, "adam": args.lr}
    if args.start is not None:
        state = torch.load(args.start, map_location=device, weights_only=True)
        state = state.get("average", state)
        own = model.state_dict()
        model.load_state_dict({k: v for k, v in state.items() if k in own and own[k].shape == v.shape}, strict=False)
    average = Average(model)
    first, random_states = 0, None
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state[name])
        first, random_states = state["step"], state["rng"]
        print(f"going on from step {first}", flush=True)

    data = PoolData(args.pool, args.seed)
    if rank == 0:
        print(f"{len(data)} pictures", flush=True)  # fewer than were meant is another training
    steps = sum(stage.steps for stage in args.stages)
    last = min(steps, args.stop or steps)
    sampler = Steps(len(data), args.batch, first, last, args.seed, args.stages, (rank, args.processes))
    loader = DataLoader(
        data, batch_sampler=sampler, collate_fn=collate, num_workers=args.workers, worker_init_fn=_one_thread,
        prefetch_factor=4 if args.workers else None, pin_memory=device.type == "cuda",
    )  # fmt: skip
    scenes: list[Scene] = []
    log = (args.out / "log.jsonl").open("a")
    tqdm.monitor_interval = 0  # or every process has a thread that watches a bar that only the first one shows
    bar = tqdm(total=last, initial=first, unit="step", disable=rank > 0 or not sys.stderr.isatty())
    running = torch.zeros(7)
    began, counted = time.monotonic(), 0
    step = first
    batches = iter(loader)  # takes a random number
    if random_states is not None:
        torch.set_rng_state(random_states[rank].cpu().clone())  # it reads past the end of a view that begins later
    for images, targets in batches:
        model.train()
        for name, optimiser in optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rates[name] * rate(step, steps, args.decay)
            optimiser.zero_grad(set_to_none=True)
        x = (images.to(device, non_blocking=True).float() / 255).contiguous(memory_format=torch.channels_last)
        moved: dict[str, Tensor] = {k: v.to(device, non_blocking=True) for k, v in targets.items()}
        with torch.autocast(device.type, torch.bfloat16):
            out = model(x)
        loss, parts = pose_loss(out, moved, maps=step < args.stages[0].steps)
        loss.backward()
        if team.processes > 1:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            for gradient, total in zip(gradients, team.sum(gradients), strict=True):
                torch.div(total, team.processes, out=gradient)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        for optimiser in optimisers.values():
            optimiser.step()
        step += 1
        saves = step % args.every == 0 or step == last
        states = team.gather(torch.get_rng_state()) if saves else None
        if rank > 0:
            continue
        average.update(model, step)
        counted += 1
        bar.update()
        running += torch.cat([loss.detach()[None], parts]).cpu()
        if step % 50 == 0:
            mean = (running / counted).tolist()
            speed = counted * args.batch / (time.monotonic() - began)
            line = {
                "step": step,
                **{
                    k: round(v, 4)
                    for k, v in zip(("loss", "box", "oks", "conf", "obj", "field", "maps"), mean, strict=True)
                },
                "speed": round(speed, 1),
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            bar.set_postfix(line)
            running.zero_()
            began, counted = time.monotonic(), 0
        if saves:
            save(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "average": average.model.state_dict(),
                    **{name: optimiser.state_dict() for name, optimiser in optimisers.items()},
                    "rng": states,
                    "step": step,
                },
            )
            if not scenes:
                scenes = [held_out(VALIDATION_FIRST + i) for i in range(args.validation)]
            truth = coco([(f"{i}.jpg", s) for i, s in enumerate(scenes)])
            found = predict(average.model, [s.image for s in scenes], args.score_size)
            score = average_precision(truth, found, [i["id"] for i in truth["images"]])
            line = {"step": step, **{k: round(v, 4) for k, v in score.items()}}
            log.write(json.dumps(line) + "\n")
            log.flush()
            bar.write(json.dumps(line))
            began, counted = time.monotonic(), 0
    if rank == 0:
        save(args.out / "weights.pt", average.model.state_dict())
    log.close()
    bar.close()


if __name__ == "__main__":
    main()
