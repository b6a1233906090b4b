"""`finepseudo export RUN` and `finepseudo export features RUN LIST`: what a run has learned, for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from finepseudo.run_folder.layout import RunPaths
from finepseudo.run_folder.others import no_run
from jobs.pipeline.run_folder import read_config
from shards.errors import UserError

FEATURES = "features"
"""First word of the form that writes features."""


def export_command(arguments: argparse.Namespace) -> int:
    """Do what the command line asks for; 1 where some videos could not be read."""
    first, *rest = arguments.what
    if first == FEATURES:
        if len(rest) < 2:
            raise UserError("export features: give a run and videos: finepseudo export features runs/mine clips.csv")
        return _features(arguments, named_run("export", rest[0]), rest[1:])
    if rest:
        raise UserError(f"export: {' '.join(rest)}: one run at a time; `export features RUN LIST` takes videos")
    from jobs.pipeline.export.models import config_text, export_run

    run = named_run("export", first)
    out = arguments.out or run.root / "export"
    for line in export_run(read_config(run.root), run, out, seed=arguments.seed, method=arguments.method):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"{out}: {config_text(out)}; load.py in it needs torch, numpy and safetensors alone\n")
    return 0


def named_run(command: str, text: str) -> RunPaths:
    """Find the run that is meant: its folder, or its name below runs/."""
    for folder in (Path(text), Path("runs") / text):
        if RunPaths(folder).config.is_file():
            return RunPaths(folder)
    folder = Path("runs", text) if Path(text).name == text else Path(text)
    raise no_run(command, folder, "give the folder of a run that `finepseudo run` made, or its name below runs")


def _features(arguments: argparse.Namespace, run: RunPaths, videos: list[str]) -> int:
    from jobs.pipeline.export.features import ENDINGS, export_features
    from jobs.pipeline.predict.tables import check_out

    out = arguments.out or Path("features.parquet")
    check_out(out, ENDINGS)
    failed = export_features(read_config(run.root), run, videos, out, seed=arguments.seed, method=arguments.method)
    for path, reason in failed[:10]:
        sys.stderr.write(f"not readable: {path}: {reason}\n")
    sys.stdout.write(f"{out} written" + (f"; {len(failed):,} videos could not be read\n" if failed else "\n"))
    return 1 if failed else 0
