"""`finepseudo bench predict`: how much of the reader's own rate is left when a run predicts what it reads.

Both read the same videos in the same way, decoded ahead, on the same threads; one of them puts nothing through a
network. By the wall clock, in turn; on a CPU networks and decoders share the cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from finepseudo.bench.race import Contender, Target, figure, race, say
from finepseudo.run_folder.layout import RunPaths
from finepseudo.run_folder.others import no_run
from jobs.pipeline.predict.clips import read_clips
from jobs.pipeline.predict.inputs import clips_of
from jobs.pipeline.predict.trained import load_predictor
from jobs.pipeline.predict.videos import Asked, answered, device_for, views_of
from jobs.pipeline.run_folder import read_config

TARGET = Target(must=0.9, aim=0.95)


def main(argv: Sequence[str]) -> int:
    """Measure and print; 0 whatever comes out."""
    parser = argparse.ArgumentParser(prog="finepseudo bench predict", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("videos", nargs="+", help="videos, folders of them or lists, as for `finepseudo predict`")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default: 3)")
    arguments = parser.parse_args(argv)
    run = RunPaths(arguments.run)
    if not run.config.is_file():
        raise no_run("bench predict", run.root, "train first")
    cfg, clips = read_config(run.root), clips_of(arguments.videos)
    device = device_for(cfg)
    predictors = [load_predictor(cfg, run, device=device)]
    views = views_of(cfg, predictors)

    def read() -> None:
        for _ in read_clips(cfg, clips, views, device, cfg.evaluate.batch):
            pass

    def predict() -> None:
        for _ in answered(cfg, clips, predictors, Asked(), device):
            pass

    pair = {"reader": _timed(read, len(clips)), "predict": _timed(predict, len(clips))}
    race(pair, arguments.rounds)
    say(f"{len(clips):,} videos, {arguments.rounds} rounds, {_name(device)}")
    for name, contender in pair.items():
        say(f"{name}: {figure([1 / s for s in contender.seconds])} clips a second")
    say(f"predict / reader: {figure(pair['predict'].ratios(pair['reader']), '.2f', TARGET)}")
    return 0


def _timed(call: Callable[[], None], clips: int) -> Contender:
    return Contender(call=call, items=clips, clock=time.perf_counter)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
