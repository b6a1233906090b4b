"""The training loop of every stage: one rank's view, without Ray.

What a step does is a pure function of (seed, stage, step, rank) and of the state before it: the batch order is the
reader's cursor and torch's generator is seeded anew at every step. So a run that is stopped at any step and started
again needs no generator state to end bit for bit where an undisturbed one ends.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from finepseudo.run_folder.files import json_lines, write_text
from finepseudo.run_folder.layout import CHECKPOINTS, FAILURE, LOG, WEIGHTS
from finepseudo.training.checkpoint import checkpoint_steps, load_state, save_state, save_weights
from finepseudo.training.objectives import Objective
from finepseudo.training.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from jobs.cluster import preempt
from jobs.config.training import TrainConfig
from shards.errors import UserError
from shards.files import append_line
from shards.types import ClipBatch

Outcome = Literal["done", "preempted", "failed"]


class Reader(Protocol):
    """What the loop needs of what it reads: see `jobs.workers.streams`."""

    @property
    def bad(self) -> Mapping[str, int]:
        """Clips that failed so far, by reason."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one pass of the leading stream."""
        ...

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        """This rank's part of the batches of step `step` and of all later ones, by stream, without end."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopJob:
    """One stage for the loop: where it lives, how it is optimised and what its lines in the log are tagged with."""

    run: Path
    folder: Path
    stage: str
    train: TrainConfig
    seed: int
    tags: Mapping[str, Any]
    # position of this stage in a schedule that spans several stages: it runs from `part` to `part + 1` of `parts`
    part: int = 0
    parts: int = 1
    # called on every rank after every `probe_every` steps and at the end; its numbers go to the log
    probe: Callable[[nn.Module, int], Mapping[str, float]] | None = None
    probe_every: int = 0


def seed_of(*parts: object) -> int:
    """Make a 63-bit seed of anything printable: equal parts, equal seed, on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def total_steps(cfg: TrainConfig, batches_per_epoch: int) -> int:
    """Optimiser steps of a stage."""
    return cfg.steps if cfg.steps is not None else (cfg.epochs or 0) * batches_per_epoch


@dataclass(slots=True)
class _Window:
    """Sums since the last line of the log."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    clips: int = 0
    steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, waited: float, clips: int, values: Mapping[str, Tensor]) -> None:
        self.waited += waited
        self.clips += clips
        self.steps += 1
        for name, value in values.items():
            start = self.sums.get(name, torch.zeros((), dtype=torch.float64))
            self.sums[name] = start + value.detach().double().cpu()


def fail(job: LoopJob, problem: str) -> Outcome:
    """Leave the reason where the driver finds it; the rank that knows it writes it."""
    if problem:
        (job.folder / FAILURE).write_text(problem + "\n", encoding="utf-8")
    return "failed"


def any_rank(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Return, for each flag, whether any rank has raised it."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


class Loop:
    """Trains `objective` on this rank's batches from the newest checkpoint to the last step."""

    def __init__(self, job: LoopJob, objective: Objective, reader: Reader, *, device: torch.device) -> None:
        """Wrap the objective in DDP where several ranks take part and load the newest checkpoint."""
        self.job, self.reader, self.device = job, reader, device
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.objective = objective.to(device)
        self.optimiser = build_optimizer(self.objective, job.train.optim)
        self.total = total_steps(job.train, reader.batches_per_epoch)
        self.window, self.rate = _Window(), 0.0
        self.step = self._load()
        self.model: nn.Module = self.objective
        if self.world > 1:  # find_unused_parameters also keeps DDP from regrouping its buckets after the first step
            self.model = DistributedDataParallel(self.objective, broadcast_buffers=False, find_unused_parameters=True)

    def run(self) -> Outcome:
        """Train to the end, to a stop request or to a failure all ranks agree on."""
        self.objective.train()
        self._trim_log()
        with closing(self.reader.batches(self.step)) as batches:
            outcome = self._steps(batches)
        if outcome == "done" and self.rank == 0:
            save_weights(self.job.folder / WEIGHTS, self.objective.state_dict(), {"stage": self.job.stage})
        if self.world > 1:
            dist.barrier()
            # DDP's reducer must not outlive the group: its end would wait, holding the interpreter, for a thread that
            # needs the interpreter
            self.model = self.objective
        return outcome

    def _steps(self, batches: Iterator[dict[str, ClipBatch]]) -> Outcome:
        while self.step < self.total:
            before = time.perf_counter()
            batch, problem = self._next(batches)
            waited = time.perf_counter() - before
            stop = self.rank == 0 and preempt.requested(self.job.run)
            failed, stopped = any_rank([bool(problem), stop], self.device)
            if failed:
                return fail(self.job, problem)
            if stopped:
                self._save()
                return "preempted"
            if problem := self._train_step(batch, waited):
                return fail(self.job, problem)
            self._after_step()
        return "done"

    def _next(self, batches: Iterator[dict[str, ClipBatch]]) -> tuple[dict[str, ClipBatch], str]:
        """Fetch the batches of a step; what goes wrong is told to the other ranks before any waits for this one."""
        try:
            batch = next(batches)
        except UserError as error:
            return {}, str(error)
        return {name: part.to(self.device) for name, part in batch.items()}, ""

    def _train_step(self, batch: dict[str, ClipBatch], waited: float) -> str:
        cfg, job = self.job.train.optim, self.job
        torch.manual_seed(seed_of(job.seed, self.step, self.rank))
        done, total = job.part * self.total + self.step, job.parts * self.total
        self.rate = learning_rate(cfg, done, total, self.reader.batches_per_epoch)
        set_learning_rate(self.optimiser, self.rate)
        self.optimiser.zero_grad(set_to_none=True)
        output = self.model(batch)
        output.loss.backward()
        norm = clip_gradients(self.objective.parameters(), cfg)
        finite = bool(torch.isfinite(output.loss)) and bool(torch.isfinite(norm))
        if any_rank([not finite], self.device)[0]:
            return (
                f"{job.stage}: step {self.step + 1}: loss {output.loss.item():g}, gradient norm {norm.item():g} is not "
                f"finite; no weight was changed by it; lower the learning rate ({cfg.lr:g}) or look at the data"
            )
        self.optimiser.step()
        self.step += 1
        self.objective.after_step(self.step, self.total)
        clips = sum(len(part.keys) for part in batch.values())
        self.window.add(waited, clips * self.world, {**output.metrics, "train/grad_norm": norm})
        return ""

    def _after_step(self) -> None:
        cfg, last = self.job.train, self.step == self.total
        if self.step % cfg.log_every == 0 or last:
            self._write_line()
        if self.job.probe and ((self.job.probe_every and self.step % self.job.probe_every == 0) or last):
            self._write_probe()
        if self.step % cfg.checkpoint_every == 0 or last:
            self._save()

    def _write_probe(self) -> None:
        self.objective.eval()
        values = self.job.probe(self.objective, self.step) if self.job.probe else {}
        self.objective.train()
        if self.rank == 0:
            self._append(dict(values))

    def _write_line(self) -> None:
        """Average the window over its steps and append one line to the stage's log."""
        window, self.window = self.window, _Window()
        names = sorted(window.sums)
        means = [
            window.sums[name].item() / window.steps for name in names
        ]  # equal on every rank (finepseudo.training.objectives)
        bad = torch.tensor(float(sum(self.reader.bad.values())), device=self.device)
        if self.world > 1:
            dist.all_reduce(bad)
        if self.rank != 0:
            return
        elapsed = max(time.perf_counter() - window.started, 1e-9)
        line = dict(zip(names, means, strict=True))
        line["train/lr"] = self.rate
        line["data/wait_fraction"] = min(1.0, window.waited / elapsed)
        line["data/clips_per_s"] = window.clips / elapsed
        line["data/bad_clips"] = float(bad.item())
        self._append(line)

    def _append(self, scalars: Mapping[str, float]) -> None:
        epoch = self.step / self.reader.batches_per_epoch
        head = {"time": time.time(), **self.job.tags, "step": self.step, "epoch": round(epoch, 4), "steps": self.total}
        append_line(self.job.folder / LOG, json.dumps({**head, **scalars}))

    def _trim_log(self) -> None:
        """Drop lines of steps that will be done again, so that no step stands in the log twice."""
        path = self.job.folder / LOG
        if self.rank != 0 or not path.exists():
            return
        lines = [line for line in json_lines(path.read_bytes())[0] if line.get("step", 0) <= self.step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def _save(self) -> None:
        if self.rank == 0:
            state = {"step": self.step, "model": self.objective.state_dict(), "optimiser": self.optimiser.state_dict()}
            state["window"] = {"steps": self.window.steps, "sums": self.window.sums}
            save_state(self.job.folder / CHECKPOINTS, self.step, state)

    def _load(self) -> int:
        """Load the newest checkpoint that rank 0 sees; return the step to go on from."""
        folder = self.job.folder / CHECKPOINTS
        newest = torch.tensor([max(checkpoint_steps(folder), default=0)], device=self.device)
        if self.world > 1:
            dist.broadcast(newest, 0)
        step = int(newest.item())
        if step:
            state = load_state(folder, step, self.device)
            self.objective.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.window.steps = state["window"]["steps"]
            self.window.sums = {name: value.cpu() for name, value in state["window"]["sums"].items()}
        return step
