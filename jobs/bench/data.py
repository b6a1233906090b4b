"""`finepseudo bench data`: what reading and writing shards cost beside the bare libraries, as ratios within one run.

Contenders run in turn within each round and a figure is the median over rounds of the ratio in the same round, in
processor time; only two processes against one and the time to resume are by the wall clock. The clips are drawn by the
command itself. OpenCV, torchcodec, torchvision and the ffmpeg program are measured where they are installed. With
`--gpu` it says instead how many clips a second the GPU's video engine, the cores and both at once read for that GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from finepseudo.bench.alignment import processor
from finepseudo.bench.race import Contender, Target, race, say, table_head, table_row
from jobs.bench.gpu import reading as for_a_gpu
from shards.bench import large, peers, reading, writing
from shards.bench.clips import BenchClips, given_clips, make_clips
from shards.errors import UserError

SIZE, WIDE = 112, 224
"""Sides of the images read, pixels: those of f_E, which the figures are promised for, and of f_A."""
SPARSE = "sparse decoding / decoding whole clips"
READER = f"reader with all its parts / decoding its frames alone, {SIZE} px"
READER_WIDE = f"the same, {WIDE} px"
TWO = "two reader processes / one (wall clock)"
WRITE = "write-shards / ffmpeg"
RESUME = "first batch after a resume at clip {:,} of {:,}, s"
GIVEN = "not measured: shards were given"
MEMORY = "order and manifest of {:,} clips, MB a rank"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A promise and how it is judged; with `smaller`, less is better."""

    target: Target
    unit: str = "{:.2f}"
    smaller: bool = False

    def cells(self, found: Sequence[float] | str) -> list[str]:
        """Write must, aim, measured, spread and verdict: of the rounds, or of why there are none."""
        promised = [self.unit.format(value) for value in (self.target.must, self.target.aim)]
        if isinstance(found, str):
            return [*promised, found, "", ""]
        return [*promised, *spread(found, self.unit), self.verdict(statistics.median(found))]

    def verdict(self, value: float) -> str:
        """Say which promise a value keeps."""
        if not self.smaller:
            return self.target.verdict(value)
        return Target(must=-self.target.must, aim=-self.target.aim).verdict(-value)


def spread(rounds: Sequence[float], unit: str = "{:.2f}") -> list[str]:
    """Write the median of the rounds, and the smallest and largest."""
    low, high = unit.format(min(rounds)), unit.format(max(rounds))
    return [unit.format(statistics.median(rounds)), f"{low} to {high}"]


FIGURES = {
    SPARSE: Figure(target=Target(must=0.8, aim=1.0)),
    READER: Figure(target=Target(must=0.85, aim=0.95)),
    TWO: Figure(target=Target(must=1.7, aim=1.9)),
    WRITE: Figure(target=Target(must=0.85, aim=0.95)),
    RESUME: Figure(target=Target(must=2.0, aim=0.5), smaller=True),
    MEMORY: Figure(target=Target(must=300, aim=100), unit="{:.0f}", smaller=True),
}
PEER = Figure(target=Target(must=1.0, aim=1.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    clips: int
    lengths: tuple[int, int] = (80, 100)
    rows: int = large.ROWS
    resume_at: int = large.RESUME_AT


QUICK = Extent(rounds=1, clips=4, lengths=(20, 24), rows=2000, resume_at=9000)


def measure(clips: BenchClips, folder: Path, extent: Extent) -> None:
    """Take all figures, printing a table as each part is done."""
    table_head("figure", ["must", "aim", "measured", "spread of the rounds", "verdict"])
    times = _reading(clips, extent)
    times |= _peers(clips, extent)
    row(TWO, reading.two_against_one(Path(clips.manifest.folder), clips.keys, SIZE, extent.rounds))
    times |= _writing(clips, folder, extent)
    _large(clips, folder, extent)
    say("\n## Milliseconds of processor time a clip, medians\n")
    table_head("what", ["ms"])
    for name, value in times.items():
        table_row(name, [f"{1e3 * value:.1f}"])


def row(name: str, found: Sequence[float] | str, figure: Figure | None = None) -> None:
    """Print one figure."""
    table_row(name, (figure or FIGURES[name]).cells(found))


def _reading(clips: BenchClips, extent: Extent) -> dict[str, float]:
    found = _raced(reading.contenders(clips.manifest, clips.keys, (SIZE, WIDE)), len(clips.keys), extent)
    row(SPARSE, found["sparse"].ratios(found["raw"]))
    row(READER, found[f"reader {SIZE}"].ratios(found["sparse"]))
    table_row(READER_WIDE, ["", "", *spread(found[f"reader {WIDE}"].ratios(found["sparse"])), ""])
    return _each(found)


def _peers(clips: BenchClips, extent: Extent) -> dict[str, float]:
    """Race the reader against other libraries; the batch is the same, but for rounding and the resizing filter."""
    reader = reading.make_reader(clips.manifest, clips.keys, SIZE, train=False)
    batch = reader.read(clips.keys)
    wanted = [(clips.loose[key], ids[0].tolist()) for key, ids in zip(batch.keys, batch.frame_ids, strict=True)]
    found, missing = peers.peers()

    def doing(peer: peers.Peer) -> Callable[[], torch.Tensor]:
        return lambda: torch.stack([peer(path, ids, SIZE) for path, ids in wanted])

    calls: dict[str, Callable[[], object]] = {"reader, test clips": lambda: reader.read(clips.keys)}
    for name, peer in found.items():
        off = (doing(peer)() - batch.frames[:, 0]).abs().mean().item()
        if off > 0.1:  # of a standard deviation: other frames or another crop would be far more
            raise UserError(f"{name} reads other images than the reader does: they differ by {off:.2f} on average")
        calls[name] = doing(peer)
    raced = _raced(calls, len(clips.keys), extent)
    for name in ("OpenCV", "torchcodec", "torchvision"):
        ratios = raced["reader, test clips"].ratios(raced[name]) if name in found else missing[name]
        row(f"reader / {name} from loose files", ratios, PEER)
    return _each(raced)


def _writing(clips: BenchClips, folder: Path, extent: Extent) -> dict[str, float]:
    if clips.sources is None:
        row(WRITE, GIVEN)
        return {}
    some = clips.sources.slice(0, 4)
    found = _raced(writing.contenders(some, folder), some.num_rows, extent)
    row(WRITE, found["write-shards"].ratios(found["ffmpeg"]) if "ffmpeg" in found else "ffmpeg is not installed")
    return _each(found)


def _large(clips: BenchClips, folder: Path, extent: Extent) -> None:
    """Resume in a manifest of many rows."""
    names = RESUME.format(extent.resume_at, extent.rows), MEMORY.format(extent.rows)
    if clips.sources is None:
        row(names[0], GIVEN, FIGURES[RESUME])
        row(names[1], GIVEN, FIGURES[MEMORY])
        return
    where, small = folder / "large", Path(clips.manifest.folder)
    large.write_large(clips.manifest, where, extent.rows)
    found = [large.resume(where, small, extent.resume_at) for _ in range(extent.rounds)]
    row(names[0], [one.seconds for one in found], FIGURES[RESUME])
    row(names[1], [one.megabytes for one in found], FIGURES[MEMORY])


def _raced(calls: Mapping[str, Callable[[], object]], clips: int, extent: Extent) -> dict[str, Contender]:
    """Race calls that all do the same clips."""
    contenders = {name: Contender(call=call, items=clips) for name, call in calls.items()}
    race(contenders, extent.rounds)
    return contenders


def _each(raced: Mapping[str, Contender]) -> dict[str, float]:
    return {name: statistics.median(contender.seconds) for name, contender in raced.items()}


def versions() -> str:
    """Name what is measured and what it is measured against."""
    names = ("torch", "av", "nvidia-dali-cuda130", "nvidia-dali-cuda120", "opencv-python-headless", "opencv-python")
    found = []
    for name in (*names, "torchcodec", "torchvision"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*found, *(["ffmpeg program"] if shutil.which("ffmpeg") else [])])


def main(options: Sequence[str] | None = None) -> int:
    """Run the comparison and print it as Markdown; return the exit status."""
    parser = argparse.ArgumentParser(prog="finepseudo bench data", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often all contenders run (default 7)")
    parser.add_argument("--clips", type=int, default=16, help="clips that are read (default 16)")
    parser.add_argument("--shards", type=Path, help="measure clips of these shards instead of drawn ones")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in; kept (default: one that is removed)")
    parser.add_argument("--gpu", action="store_true", help="only what is read for a GPU, by decoder, as JSON")
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows that everything works")
    arguments = parser.parse_args(options)
    if arguments.gpu:
        return _for_a_gpu(arguments.quick, arguments.shards)
    if min(arguments.rounds, arguments.clips) < 1:
        parser.error("--rounds and --clips: at least 1")
    if arguments.folder and arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise UserError(f"--folder {arguments.folder} is not empty; give another one")
    extent = QUICK if arguments.quick else Extent(rounds=arguments.rounds, clips=arguments.clips)
    torch.set_num_threads(1)
    where = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory()
    with where as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        _print_head(extent)
        if arguments.shards:
            clips = given_clips(arguments.shards, folder, extent.clips)
        else:
            clips = make_clips(folder, extent.clips, extent.lengths)
        _print_clips(clips)
        measure(clips, folder, extent)
    say(f"\nLoad of the machine (1, 5, 15 minutes): {', '.join(f'{x:.1f}' for x in os.getloadavg())}.")
    return 0


def _for_a_gpu(quick: bool, shards: Path | None) -> int:
    """Print the rows of `bench gpu reading`, each as soon as it is measured."""
    if not quick and not torch.cuda.is_available():
        raise UserError("bench data --gpu: no CUDA device here; --quick rehearses it on a CPU")
    for name, numbers in for_a_gpu.measure(quick, shards):
        say(json.dumps({name: numbers}))
    return 0


def _print_head(extent: Extent) -> None:
    say("# Reading and writing shards, beside the bare libraries\n")
    say(f"Processor: {processor()}, {os.cpu_count()} cores. {versions()}.")
    say(f"Medians of {extent.rounds} interleaved rounds, one thread each; higher is better unless in s or MB.")


def _print_clips(clips: BenchClips) -> None:
    rows = [clips.manifest.row(key) for key in clips.keys]
    frames, size = sum(row.n_frames for row in rows), sum(row.size for row in rows)
    kind = f"{rows[0].codec}, {rows[0].width} x {rows[0].height}"
    say(f"{len(rows)} clips, {kind}, {frames / len(rows):.0f} frames and {size / frames / 1000:.1f} kB a frame on")
    say(f"average; {reading.FRAMES} frames of each are read.\n")


if __name__ == "__main__":
    raise SystemExit(main())
