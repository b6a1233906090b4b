"""ActorCutMix: FixMatch (or UDA), half of whose steps paste the persons of one clip on the scene of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import TwoViewsConfig, ramp_of, streams
from shards.errors import UserError
from shards.settings import setting

if TYPE_CHECKING:
    from finepseudo.consistency.boxes import Boxes
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorCutMixConfig(TwoViewsConfig):
    """Keys of `actor_cutmix`."""

    boxes: str | None = setting(
        None,
        "table of person boxes by clip and frame, .parquet or .csv, as docs/files.md has it",
        source="of a person detector",
    )
    min_score: float = setting(
        0.4, "score of the detector from which a box counts", source="ActorCutMix: .4", at_least=0, at_most=1
    )
    cut: float = setting(
        0.5,
        "probability that a step pastes actors in place of the strong view",
        source="ActorCutMix: .5",
        at_least=0,
        at_most=1,
    )
    tau: float = setting(
        0.95,
        "least confidence that counts; .3 to .5 with about 100 classes or more",
        source="ActorCutMix: .95, with UDA .8",
        at_least=0,
        at_most=1,
    )
    temperature: float | None = setting(
        None, "that labels are sharpened by; null = their argmax (FixMatch)", source="ActorCutMix with UDA: .4", above=0
    )


def files(cfg: ActorCutMixConfig) -> Mapping[str, Path | None]:
    """Name the table of boxes."""
    return {"boxes": Path(cfg.boxes).expanduser() if cfg.boxes else None}


def ready(cfg: ActorCutMixConfig, pool: Sequence[str]) -> None:
    """Refuse a table that says nothing of some clips of the pool."""
    if missing := read(cfg).lacks(pool):
        raise UserError(
            f"method.actor_cutmix.boxes = {cfg.boxes}: says nothing of {len(missing):,} of {len(pool):,} unlabelled "
            f"clips, first {missing[0]}; run the detector on them too (a row of score 0 says that nobody is seen)"
        )


def read(cfg: ActorCutMixConfig) -> Boxes:
    """Read the boxes."""
    from finepseudo.consistency.boxes import Boxes

    path = files(cfg)["boxes"]
    if path is None:
        raise ValueError("method.actor_cutmix.boxes: no file; the pipeline refuses that before")
    return Boxes(path, cfg.min_score)


def objective(cfg: ActorCutMixConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels, and on the own label of a strong view or, by their areas, of an actor and a scene."""
    from finepseudo.consistency.actors import ActorObjective, ActorParts
    from finepseudo.consistency.targets import hard, sharpened
    from finepseudo.consistency.weighters import Threshold

    parts = ActorParts(
        boxes=read(cfg),
        cut=cfg.cut,
        weighter=Threshold(cfg.tau),
        target=hard if cfg.temperature is None else partial(sharpened, temperature=cfg.temperature),
        ramp=ramp_of(cfg, setting.steps),
    )
    return ActorObjective(setting.encoder, setting.loss, parts, setting.seed)


ACTOR_CUTMIX = Method(
    name="actor_cutmix",
    title="ActorCutMix",
    paper="Zou et al., CVIU 2022: scenes swapped behind the actors",
    hue="purple",
    config=ActorCutMixConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
    files=files,
    ready=ready,
    presets={
        "paper": {
            "optim.name": "sgd",
            "optim.lr": 0.2,
            "optim.nesterov": False,
            "optim.weight_decay": 1e-4,
            "optim.warmup_epochs": 0.0,
            "optim.clip_norm": 40.0,
        }
    },
    needs="boxes of persons, method.actor_cutmix.boxes",
)
