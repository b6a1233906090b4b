"""What a run says while it runs: bars on a terminal, one plain line per so many steps in a log file.

Training workers write `metrics.jsonl` into their stage's folder; the driver follows that file. It shows the lines,
appends them to the run's own metrics.jsonl and to TensorBoard, all under the same names.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from finepseudo.run_folder.files import json_lines, write_text
from jobs.tracking import Tracker, make_tracker
from shards.files import append_line

POLL_S = 0.5
SAY_S = 30.0
"""Time between two lines of a job that counts its parts."""

Count = Callable[[int, int], None]
"""Is told (parts done, parts) whenever a part is done."""


class Reporter:
    """The only writer of the run's metrics.jsonl, of its TensorBoard files and of the terminal."""

    def __init__(self, run: Path, *, tensorboard: bool = True, tracker: str = "") -> None:
        """Report on the run in folder `run`; tracker: where else the numbers go. UserError when that is not here."""
        self.run = run
        self._tracker = make_tracker(tracker, run)
        self.console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
        self._lock = threading.Lock()
        self._file = run / "metrics.jsonl"
        self._seen = {_identity(line) for line in Tail(self._file).new()}
        self._fixed = False
        self._tensorboard = tensorboard
        self._writers: dict[str, Any] = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self.console, transient=True) if self.console.is_terminal else None

    def __enter__(self) -> Reporter:
        """Start the bars."""
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close bars and files."""
        if self._progress:
            self._progress.stop()
        for writer in self._writers.values():
            writer.close()
        self._track(lambda tracker: tracker.close())

    def say(self, text: str) -> None:
        """Print one plain line."""
        with self._lock:
            self.console.print(text, markup=False)

    def tell(self, text: str) -> None:
        """Print what has happened, behind the time of day."""
        self.say(f"{time.strftime('%H:%M:%S')} {text}")

    def scalars(self, line: Mapping[str, Any]) -> bool:
        """Append one line of scalars to metrics.jsonl and TensorBoard, once; tell whether it was new."""
        with self._lock:
            if _identity(line) in self._seen:
                return False
            if not self._fixed:  # not before: who only looks writes nothing
                whole_lines(self._file)
                self._fixed = True
            append_line(self._file, json.dumps(line))
            self._seen.add(_identity(line))
            if self._tensorboard:
                self._to_tensorboard(line)
            if values := numbers_of(line):
                self._track(lambda tracker: tracker.log(curve_name(line), values, int(line.get("step", 0))))
            return True

    def _track(self, act: Callable[[Tracker], None]) -> None:
        """Tell the tracker, which has copies alone: whatever breaks in it ends neither a run nor the following."""
        if self._tracker is None:
            return
        try:
            act(self._tracker)
        except Exception as error:  # a network, a quota, a package: any kind
            self._tracker = None
            why = " ".join(str(error).split())[:200] or type(error).__name__
            sys.stderr.write(f"warning: tracker: {why}; it is told no more, every number stands in {self._file}\n")

    def forget(self, tags: Mapping[str, Any]) -> None:
        """Drop the lines of a stage that is about to run from its beginning."""
        with self._lock:
            lines = whole_lines(self._file)
            kept = [line for line in lines if any(line.get(name) != value for name, value in tags.items())]
            if len(kept) != len(lines):
                write_text(self._file, "".join(json.dumps(line) + "\n" for line in kept))
                self._seen = {_identity(line) for line in kept}

    def _to_tensorboard(self, line: Mapping[str, Any]) -> None:
        name = curve_name(line)
        if name not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[name] = SummaryWriter(str(self.run / "tensorboard" / name))
        for key, value in numbers_of(line).items():
            self._writers[name].add_scalar(key, value, line.get("step", 0))
        self._writers[name].flush()

    @contextmanager
    def counting(self, name: str) -> Iterator[Count]:
        """Show how much of a job is done: a bar on a terminal, in a log a line now and then with the time left."""
        tasks: list[TaskID] = []
        started, said, first = time.monotonic(), time.monotonic(), -1

        def count(done: int, total: int) -> None:
            nonlocal said, first
            first = done if first < 0 else first
            if self._progress:
                tasks[:] = tasks or [self._progress.add_task(name, total=total, note="parts")]
                self._progress.update(tasks[0], completed=done)
            elif time.monotonic() - said >= SAY_S and done > first:
                said = time.monotonic()
                left = timedelta(seconds=round((said - started) / (done - first) * (total - done)))
                self.tell(f"{name} part {done}/{total}, about {left} left")

        try:
            yield count
        finally:
            if self._progress and tasks:
                self._progress.remove_task(tasks[0])

    @contextmanager
    def follow(self, name: str, log: Path) -> Iterator[None]:
        """Follow a stage's log while the block runs: show each line and copy it to the run's metrics."""
        stop = threading.Event()
        refused: list[Exception] = []

        def run() -> None:
            try:
                self._follow(name, log, stop)
            except Exception as error:  # the disk is full, say: an error of a thread ends nothing by itself
                refused.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if refused:
            raise refused[0]

    def _follow(self, name: str, log: Path, stop: threading.Event) -> None:
        task: TaskID | None = None
        tail = Tail(log)
        while True:
            ended = stop.wait(POLL_S)
            for line in tail.new():
                if self.scalars(line):
                    task = self._show(name, line, task)
            if ended:
                break
        if self._progress and task is not None:
            self._progress.remove_task(task)

    def _show(self, name: str, line: Mapping[str, Any], task: TaskID | None) -> TaskID | None:
        note = " ".join(f"{key.split('/')[-1]} {value:.4g}" for key, value in line.items() if key in _SHOWN)
        wait = line.get("data/wait_fraction")
        note += f" data-wait {100 * wait:.0f}%" if wait is not None else ""
        if not self._progress:
            self.tell(f"{name} step {line['step']}/{line.get('steps', '?')} {note}")
            return None
        if task is None:
            task = self._progress.add_task(name, total=line.get("steps"), note=note)
        self._progress.update(task, completed=line["step"], note=note)
        return task


_SHOWN = ("train/loss", "train/lr", "tune/objective", "valid/accuracy", "valid/pair_ap")


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Give the numbers of a line, without its tags."""
    return {key: value for key, value in line.items() if "/" in key and isinstance(value, (int, float))}


def curve_name(line: Mapping[str, Any]) -> str:
    """Name the TensorBoard run of a line: seed, method, round and stage."""
    parts = [f"seed-{line.get('seed', 0)}", line.get("method"), line.get("stage")]
    if line.get("round") is not None:
        parts.insert(2, f"round-{line['round']:02d}")
    return "/".join(str(part) for part in parts if part)


class Tail:
    """The lines that a JSON-lines file has got since the last look; the logs of long stages are not read again."""

    def __init__(self, path: Path) -> None:
        """Look at `path`, which need not exist yet."""
        self.path, self._offset, self._inode = path, 0, -1

    def new(self) -> list[dict[str, Any]]:
        """Return what was added. A file that was replaced is read from its beginning; a line in writing waits.

        What is no JSON object is left out.
        """
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                self._inode, self._offset = inode, 0
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return json_lines(whole)[0]


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log that nobody writes; a log with damaged ones is written again without them."""
    data = path.read_bytes() if path.exists() else b""
    lines, bad = json_lines(data)
    if bad or (data and not data.endswith(b"\n")):
        sys.stderr.write(f"warning: {path}: damaged lines are left out (a machine or a process was stopped in them)\n")
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def _identity(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identify what a line reports: the stage, the step and the names of the numbers."""
    return (
        *(line.get(name) for name in ("seed", "method", "round", "stage", "step")),
        *sorted(n for n in line if "/" in n),
    )
