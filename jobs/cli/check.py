"""`finepseudo check`: annotations, videos, splits and weights before anything is trained; writes nothing unasked."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.cli.dry_run import measure, rendered, split_problems
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan, weight_problems
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.annotations import load as load_annotations
from shards.check.dataset import CheckReport, check_config
from shards.errors import UserError


def check(cfg: RunConfig, decode: int | None, missing: Path | None) -> int:
    """Check and print; 0 when nothing has to be fixed, else 2.

    decode: videos that are decoded (None = all); missing: file for the paths that are not there, one a line.
    """
    found = CheckReport(dataset=f"{cfg.data.name}: rendered when the shards are written; no video to check")
    if not rendered(cfg):
        look, bad = partial(split_problems, cfg), cfg.reading.max_bad_fraction
        found = check_config(cfg.data, missing_list=missing, look=look, decode=decode, max_bad_fraction=bad)
    found = replace(found, problems=[*found.problems, *encoder_problems(cfg)])
    lines = [found.render()]
    if found.clips and not found.problems:
        lines.append(measure(cfg, load_annotations(cfg.data)).lines(cfg)[0])
    if found.missing and missing is None:
        lines.append("all missing paths, one a line: the same command with --missing FILE")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if found.ok else UserError.exit_code


def encoder_problems(cfg: RunConfig) -> list[str]:
    """Say which encoders of the run cannot start as they are given; weights that are still to come are none."""
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        stages = [stage for group in make_plan(Run(cfg, reporter)) for stage in group]
    return list(weight_problems(cfg, stages, given=True))
