"""Label draws as runs of their own: one command works in a run folder at a time, and draws want to run side by side.

A draw has the folder `<name>-seed<s>`. By links, its `data` and what else all draws share are those of the run, and the
run's `seed-<s>` is its own. The report of the run, with mean and std over the draws, is then made as that of any run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from finepseudo.run_folder.files import write_text
from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan, methods_of, unfinished
from jobs.pipeline.run_folder import write_config
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter, Tail
from shards.errors import UserError


def draw_of(cfg: RunConfig, seed: int) -> RunConfig:
    """Make the run of one label draw."""
    return replace(cfg, name=f"{cfg.name}-seed{seed}", seeds=(seed,))


def shared_parts(cfg: RunConfig) -> list[tuple[RunConfig, str]]:
    """List what all label draws share, in the order in which it is made: the run to work in, and the kind of stage."""
    parts = [(cfg, "data")]
    trained = cfg.action_encoder.pretrains or any(method.aligns for method in methods_of(cfg))
    if cfg.pretrain.shared and trained:
        # pre-training begins from the first draw, whose test clips it leaves out
        parts += [(draw_of(cfg, cfg.seeds[0]), "split"), (cfg, "pretrain")]
    return parts


def lacks(cfg: RunConfig, kind: str) -> bool:
    """Tell whether stages of a kind are still to be made in a run."""
    if not cfg.folder.exists():
        return True
    return bool(unfinished(make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))), {kind}))


def refuse_own_results(cfg: RunConfig, seed: int) -> None:
    """Refuse a run folder that holds results where a link would stand; nothing is written."""
    for path, target in _links(cfg, seed):
        _is_link(path, target)


def link_draw(cfg: RunConfig, seed: int) -> None:
    """Make the folders of a draw and the links between them; draws may do so side by side."""
    refuse_own_results(cfg, seed)
    (cfg.folder / "data").mkdir(parents=True, exist_ok=True)
    (draw_of(cfg, seed).folder / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
    for path, target in _links(cfg, seed):
        link(path, target)


def link(path: Path, target: Path) -> None:
    """Make a link to a folder or file, also beside others who make the same one; what is there must be it."""
    if not _is_link(path, target):
        try:
            path.symlink_to(target, target_is_directory=True)
        except FileExistsError:
            _is_link(path, target)


def _links(cfg: RunConfig, seed: int) -> list[tuple[Path, Path]]:
    draw = draw_of(cfg, seed)
    shared = ("data", "pretrain") if cfg.pretrain.shared else ("data",)
    return [
        *((draw.folder / name, Path("..") / cfg.name / name) for name in shared),
        (cfg.folder / f"seed-{seed}", Path("..") / draw.name / f"seed-{seed}"),
    ]


def _is_link(path: Path, target: Path) -> bool:
    """Tell whether the link is there; `UserError` where anything else is."""
    if path.is_symlink() and path.readlink() == target:
        return True
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} is there and not from such jobs; use another --name, or `finepseudo run` to go on with it"
        )
    return False


def open_draws(cfg: RunConfig) -> list[int]:
    """List the label draws of a run that have not come to their end."""
    return [seed for seed in cfg.seeds if lacks(draw_of(cfg, seed), "report")]


def gather(cfg: RunConfig) -> None:
    """Put the configuration and the curves of all draws into the run's folder, for its report.

    Of its own curves that of the pre-training stays, which was made there for all.
    """
    write_config(cfg)  # a changed key ran in the draws' folders alone
    whole = RunPaths(cfg.folder).metrics
    found = [line for line in Tail(whole).new() if line.get("stage") == "pretrain"]
    found += [line for seed in cfg.seeds for line in Tail(RunPaths(draw_of(cfg, seed).folder).metrics).new()]
    write_text(whole, "".join(json.dumps(line) + "\n" for line in found))
