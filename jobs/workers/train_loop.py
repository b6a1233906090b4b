"""The training loop of every stage: one rank's view, without Ray.

What a step does is a pure function of (seed, stage, step, rank) and of the state before it: the batch order is the
reader's cursor and torch's generator is seeded again at every step. So a run that is stopped at any step and started
again needs no generator state to end bit for bit where an undisturbed one ends.

The host never waits for a number of the device between two lines of the log: sums stay there, the optimiser itself
passes over what is not finite, and several ranks tell each other once a step whether all of them go on.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from finepseudo.compute.networks import placed, sent
from finepseudo.distributed import data_parallel, gathered
from finepseudo.run_folder.files import json_lines, write_text
from finepseudo.run_folder.layout import BEST, CHECKPOINTS, FAILURE, LOG, WEIGHTS
from finepseudo.training.checkpoint import StateWriter, checkpoint_steps, load_state, save_weights
from finepseudo.training.memory import cut_like, cut_optimizer_state, save_memory, shard
from finepseudo.training.objectives import Objective
from finepseudo.training.optim import (
    FiniteGuard,
    Part,
    build_optimizer,
    clip_gradients,
    learning_rate,
    load_optimizer,
    set_learning_rate,
)
from jobs.cluster import preempt
from jobs.config.training import TrainConfig
from shards.errors import UserError
from shards.files import append_line, atomic
from shards.read.shares import DALI, PYAV
from shards.types import ClipBatch

Outcome = Literal["done", "preempted", "failed"]
_COUNTED = ("bad", "fallback", DALI, PYAV)


class Reader(Protocol):
    """What the loop needs of what it reads: see `shards.read.streams`."""

    @property
    def bad(self) -> Mapping[str, int]:
        """Clips that failed so far, by reason."""
        ...

    @property
    def fallbacks(self) -> int:
        """Different clips that PyAV read so far because DALI could not."""
        ...

    @property
    def decoded(self) -> Mapping[str, int]:
        """Clips read so far, by who decoded them: see `shards.read.shares`."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one pass of the leading stream."""
        ...

    def seen(self, step: int) -> int:
        """Clips of all streams in the global batches before step `step`."""
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
    # in steps
    train: TrainConfig
    seed: int
    tags: Mapping[str, Any]
    # position of this stage in a schedule that spans several stages: it runs from `part` to `part + 1` of `parts`
    part: int = 0
    parts: int = 1
    # steps that the warm-up counts as an epoch; None = those of the leading stream
    epoch_steps: int | None = None
    # called on every rank after every `probe_every` steps and at the end; its numbers go to the log
    probe: Callable[[nn.Module, int], Mapping[str, float]] | None = None
    probe_every: int = 0
    # the number of the probe whose best weights are left in place of the last ones; of equal ones the later
    keep: str = ""


def seed_of(*parts: object) -> int:
    """Make a 63-bit seed of anything printable: equal parts, equal seed, on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(slots=True)
class _Window:
    """Sums since the last line of the log: those of the metrics on the device, float64 [names]."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    clips: int = 0
    steps: int = 0
    names: list[str] = field(default_factory=list)
    sums: Tensor | None = None

    def add(self, waited: float, clips: int, values: Mapping[str, Tensor]) -> None:
        self.waited += waited
        self.clips += clips
        self.steps += 1
        self.names = sorted(values)
        new = torch.stack([values[name].detach() for name in self.names]).double()
        self.sums = new if self.sums is None else self.sums + new

    def means(self) -> dict[str, float]:
        sums = [] if self.sums is None else self.sums.tolist()
        return {name: value / self.steps for name, value in zip(self.names, sums, strict=True)}


def fail(job: LoopJob, problem: str) -> Outcome:
    """Leave the reason where the driver finds it; the rank that knows it writes it."""
    if problem:
        (job.folder / FAILURE).write_text(problem + "\n", encoding="utf-8")
    return "failed"


def any_rank(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Return, for each flag, whether any rank has raised it."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return list(flags)
    raised = sent(torch.tensor(flags, dtype=torch.int32), device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


class Loop:
    """Trains `objective` on this rank's batches from the newest checkpoint to the last step."""

    def __init__(self, job: LoopJob, objective: Objective, reader: Reader, *, device: torch.device) -> None:
        """Wrap the objective in DDP where several ranks take part and load the newest checkpoint."""
        self.job, self.reader, self.device = job, reader, device
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.objective = placed(objective, device)
        save_memory(self.objective, job.train.memory)
        self.sharded = self.world > 1 and job.train.memory.shard
        if self.sharded:
            shard(self.objective, device)
        self.optimiser = build_optimizer(self.objective, job.train.optim)
        self.guard = FiniteGuard(self.optimiser, device)
        self.ahead: deque[torch.cuda.Event] = deque()
        if job.train.steps is None:
            raise ValueError("the loop counts in steps: TrainConfig.in_steps gives them")
        self.total = job.train.steps
        self.window, self.rate = _Window(), 0.0
        self.writer = StateWriter(job.folder / CHECKPOINTS)
        self.best = -math.inf
        self.step = self._load()
        self.model: nn.Module = self.objective
        if self.world > 1 and not self.sharded:
            self.model = data_parallel(self.objective)

    def run(self) -> Outcome:
        """Train to the end, to a stop request or to a failure all ranks agree on."""
        self.objective.train()
        self._trim_log()
        with closing(self.writer), closing(self.reader.batches(self.step)) as batches:
            outcome = self._steps(batches)
        if outcome == "done":
            self._save_weights()
        if self.world > 1:
            dist.barrier()
            # DDP's reducer must not outlive the group: its end would wait, holding the interpreter, for a thread that
            # needs the interpreter
            self.model = self.objective
        return outcome

    def _save_weights(self) -> None:
        """Leave the best weights where some are kept, else the last ones; called on every rank."""
        best, weights = self.job.folder / BEST, gathered(self.objective.state_dict())
        if self.rank != 0:
            return
        if self.job.keep and best.exists():
            with atomic(self.job.folder / WEIGHTS) as temporary:
                shutil.copyfile(best, temporary)
        else:
            save_weights(self.job.folder / WEIGHTS, weights, {"stage": self.job.stage})

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
                if self._broken():
                    return "failed"
                self._save()
                return "preempted"
            self._train_step(batch, waited)
            if not self._after_step():
                return "failed"
        return "done"

    def _next(self, batches: Iterator[dict[str, ClipBatch]]) -> tuple[dict[str, ClipBatch], str]:
        """Fetch the batches of a step; what goes wrong is told to the other ranks before any waits for this one."""
        try:
            batch = next(batches)
        except UserError as error:
            return {}, str(error)
        return {name: part.to(self.device) for name, part in batch.items()}, ""

    def _train_step(self, batch: dict[str, ClipBatch], waited: float) -> None:
        cfg, job = self.job.train.optim, self.job
        torch.manual_seed(seed_of(job.seed, self.step, self.rank))
        epoch = job.epoch_steps or self.reader.batches_per_epoch
        self.rate = learning_rate(cfg, self.step, self.total, epoch, Part(job.part, job.parts))
        set_learning_rate(self.optimiser, self.rate)
        self.optimiser.zero_grad(set_to_none=True)
        try:
            output = self.model(batch)
            output.loss.backward()
            norm = clip_gradients(self.objective.parameters(), cfg)
            self.guard.step(self.step + 1, output.loss.detach(), norm)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{job.stage}: step {self.step + 1}: out of memory on {self.device} "
                f"({str(error).partition('. ')[0]}); lower order.batch_size, or sampling.frames and augment.size, or "
                "take precision bf16 or more workers"
            ) from error
        self.step += 1
        self.objective.after_step(self.step, self.total)
        clips = sum(len(part.keys) for part in batch.values())
        self.window.add(waited, clips * self.world, {**output.metrics, "train/grad_norm": norm})
        self._pace()

    def _pace(self) -> None:
        """Let the host run one step ahead of a GPU and no further, so that few batches lie in its memory."""
        if self.device.type == "cuda":
            self.ahead.append(torch.cuda.current_stream(self.device).record_event())
            if len(self.ahead) > 1:
                self.ahead.popleft().synchronize()

    def _after_step(self) -> bool:
        """Write what is due; return whether the run can go on. Nothing is written of a broken state."""
        cfg, last = self.job.train, self.step == self.total
        log, save = self.step % cfg.log_every == 0 or last, self.step % cfg.checkpoint_every == 0 or last
        every = self.job.probe_every
        probe = self.job.probe is not None and (last or (every > 0 and self.step % every == 0))
        if not (log or save or probe):
            return True
        if self._broken():
            return False
        if log:
            self._write_line()
        if probe:
            self._write_probe()
        if save:
            self._save()
        return True

    def _broken(self) -> bool:
        """Ask whether a step of any rank was not finite; the ranks that saw it say which."""
        broken = self.guard.broken()
        if broken is not None:
            number, loss, norm = broken
            fail(
                self.job,
                f"{self.job.stage}: step {number}: loss {loss:g}, gradient norm {norm:g} is not finite; no weight was "
                f"changed by it; lower the learning rate ({self.job.train.optim.lr:g}) or look at the data",
            )
        return any_rank([broken is not None], self.device)[0]

    def _write_probe(self) -> None:
        self.objective.eval()
        values = self.job.probe(self.objective, self.step) if self.job.probe else {}
        self.objective.train()
        weights = gathered(self.objective.state_dict()) if self.job.keep else {}
        if self.rank == 0:
            self._append(dict(values))
            value = values.get(self.job.keep)
            if value is not None and value >= self.best:
                self.best = value
                save_weights(self.job.folder / BEST, weights, {"stage": self.job.stage})

    def _write_line(self) -> None:
        """Average the window over its steps and append one line to the stage's log."""
        window, self.window = self.window, _Window()
        line = window.means()  # equal on every rank (finepseudo.training.objectives)
        decoded = self.reader.decoded
        counts = [sum(self.reader.bad.values()), self.reader.fallbacks, decoded.get(DALI, 0), decoded.get(PYAV, 0)]
        told = torch.tensor(counts, device=self.device)
        if self.world > 1:
            dist.all_reduce(told)
        if self.rank != 0:
            return
        elapsed = max(time.perf_counter() - window.started, 1e-9)
        line["train/lr"] = self.rate
        line["data/wait_fraction"] = min(1.0, window.waited / elapsed)
        line["data/clips_per_s"] = window.clips / elapsed
        line |= {f"data/{name}_clips": float(n) for name, n in zip(_COUNTED, told.tolist(), strict=True)}
        line["data/clips"] = float(self.reader.seen(self.step))
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
        state = {"step": self.step, "model": self.objective.state_dict(), "optimiser": self.optimiser.state_dict()}
        state = gathered(state)
        if self.rank == 0:
            state["window"] = {"steps": self.window.steps, "names": self.window.names, "sums": self.window.sums}
            state["best"] = self.best
            self.writer.write(self.step, state)

    def _load(self) -> int:
        """Load the newest checkpoint that rank 0 sees; return the step to go on from."""
        folder = self.job.folder / CHECKPOINTS
        newest = torch.tensor([max(checkpoint_steps(folder), default=0)], device=self.device)
        if self.world > 1:
            dist.broadcast(newest, 0)
        step = int(newest.item())
        if step:
            state = load_state(folder, step, self.device)
            self.objective.load_state_dict(cut_like(state["model"], self.objective.state_dict()))
            load_optimizer(self.optimiser, cut_optimizer_state(state["optimiser"], self.optimiser))
            self.best = state["best"]
            for name, value in state["window"].items():
                setattr(self.window, name, value)
        return step
