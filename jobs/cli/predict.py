"""`finepseudo predict`: any number of videos through a trained run, to the terminal or into a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.predict.inputs import clips_of
from jobs.workers.labelling import read_files
from shards.errors import UserError, counted, visible

if TYPE_CHECKING:
    from jobs.pipeline.predict.tables import Answer

SOME_FAILED = 1
"""Exit code where some videos could not be read; the others were predicted."""


def predict_command(cfg: RunConfig, arguments: argparse.Namespace) -> int:
    """Predict what the command line names; 0 when all could be read, 1 when some could not."""
    clips = clips_of(arguments.videos)
    if len(clips) == 1 and "://" not in clips[0].path and not Path(clips[0].path).exists():
        raise UserError(f"predict: {arguments.videos[0]}: no such file")
    from jobs.pipeline.predict.tables import check_out, table_of, write_predictions
    from jobs.pipeline.predict.videos import Asked, answers

    out: Path | None = arguments.out
    if out is not None:
        check_out(out)
    asked = Asked(top=arguments.top, matches=arguments.matches, seed=arguments.seed, method=arguments.method)
    made, alone = [], out is None and len(clips) == 1
    for answer in answers(cfg.folder, clips, asked, cfg=cfg):
        made.append(answer)
        if out is None:
            sys.stdout.writelines(f"{line}\n" for line in _lines(answer, alone=alone))
    failed = [answer for answer in made if answer.prediction is None]
    if out is not None:
        write_predictions(out, table_of(made, read_files(RunPaths(cfg.folder).clips)))
        sys.stdout.write(f"{len(made) - len(failed):,} of {counted(len(made), 'video')} predicted: {out}\n")
    _say_failed(failed, alone=alone)
    return SOME_FAILED if failed else 0


def _lines(answer: Answer, *, alone: bool) -> list[str]:
    """Write one answer: all of it for an only video, else a line."""
    made = answer.prediction
    if made is None:
        return [] if alone else [f"{visible(answer.clip.path)}  -  {answer.reason}"]
    if alone:
        return made.lines()
    best = [f"{vote.name} {100 * vote.probability:.1f} %" for vote in (*made.classes[:1], *made.aligned[:1])]
    return [f"{visible(answer.clip.path)}  " + ", by alignment ".join(best)]


def _say_failed(failed: Sequence[Answer], *, alone: bool) -> None:
    said = [
        f"{visible(one.clip.path)}: {one.reason}" + (f" ({one.detail})" if one.detail else "") for one in failed[:10]
    ]
    if failed and alone:
        raise UserError(f"predict: {said[0]}")
    sys.stderr.writelines(f"not readable: {line}\n" for line in said)
    if len(failed) > 10:
        sys.stderr.write(f"not readable: {len(failed) - 10:,} more\n")


def _why(one: Answer) -> str:
    return visible(f"{one.clip.path}: {one.reason}" + (f" ({one.detail})" if one.detail else ""))
