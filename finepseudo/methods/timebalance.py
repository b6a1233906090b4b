"""TimeBalance: two frozen teachers, one blind to time and one that tells times apart, balanced clip by clip.

Each teacher is pre-trained on all videos without labels and then trained on the labels, as long as round 0 is. The
weight of each clip is how alike its parts look to the first; the script that made it was never published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.consistency.parts import PARTS
from finepseudo.methods.base import LABELLED, Method, MethodConfig, Plan, Setting, Similarity, Stream, TrainAction
from finepseudo.methods.side_by_side import UNLABELLED, StrongConfig, strong_look
from shards.read.groups import long_view
from shards.settings import BadSetting, section, setting

if TYPE_CHECKING:
    from finepseudo.encoders.config import ActionEncoderConfig
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig

Teacher = Literal["invariant", "distinctive"]
TEACHERS: tuple[Teacher, Teacher] = ("invariant", "distinctive")
"""Names of their trainings; f_I and f_D."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBalanceConfig(MethodConfig):
    """Keys of `timebalance`."""

    mu: float = setting(1.0, "unlabelled clips of a step for each labelled one", source="TimeBalance: 16 + 16", above=0)
    labelled_weight: float = setting(
        50.0, "weight of the squared distance to the teachers on labelled clips", source="TimeBalance: 50", at_least=0
    )
    unlabelled_weight: float = setting(
        100.0, "weight of the squared distance to the teachers on the pool", source="TimeBalance: 100", at_least=0
    )
    temperature: float = setting(0.1, "of the contrast that pre-trains the teachers", source="TCLR: .1", above=0)
    global_local: bool = setting(
        True,
        "whether the distinctive teacher learns to match a clip of the whole video with its parts, too",
        source="TCLR",
    )
    strong: StrongConfig = section(StrongConfig, "how the two augmentations of a video in pre-training look")


def plan(cfg: TimeBalanceConfig, rounds: int, last: bool) -> Plan:
    """Pre-train both teachers, train them on the labels, measure the videos, teach the student."""
    del cfg, last
    if not rounds:
        return []
    read = {"invariant": ("temperature", "strong"), "distinctive": ("temperature", "strong", "global_local")}
    similarity = Similarity(number=1, of="invariant")
    return [
        [TrainAction(number=1, name=_before(name), start=None, as_first=True, keys=read[name]) for name in TEACHERS],
        [
            TrainAction(number=1, name=name, start=1, start_of=_before(name), plain=True, as_first=True)
            for name in TEACHERS
        ],
        [similarity],
        [TrainAction(number=1, start=0, times=rounds, reads=tuple((1, n) for n in TEACHERS), side=(similarity,))],
    ]


def _before(teacher: Teacher) -> str:
    return f"{teacher}_pretrain"


def streams(cfg: TimeBalanceConfig, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
    """Read every video twice, in parts, for a teacher; labelled clips and the pool as f_E sees them for the student."""
    if request.start is None:
        strong = replace(long_view(view, PARTS), augment=strong_look(view.augment, cfg.strong))
        views = (replace(strong, name=WEAK), replace(strong, name=STRONG, frames_as=WEAK))
        return (Stream(name="videos", role="all", views=views),)
    return (
        Stream(name=LABELLED, role="labelled", views=(view,)),
        Stream(name=UNLABELLED, role="unlabelled", views=(view,), share=cfg.mu),
    )


def objective(cfg: TimeBalanceConfig, setting: Setting) -> Objective:
    """Contrast for a teacher; cross-entropy and the distance to the balanced teachers for the student."""
    from finepseudo.consistency.contrast import DistinctiveObjective, InvariantObjective
    from finepseudo.consistency.distil import BalancedObjective, Weights
    from finepseudo.consistency.teacher import trained_as

    match setting.request.name:
        case "invariant_pretrain":
            return InvariantObjective(setting.encoder, cfg.temperature, setting.seed)
        case "distinctive_pretrain":
            return DistinctiveObjective(setting.encoder, cfg.temperature, setting.seed, spans=cfg.global_local)
    (similarity,) = setting.side
    invariant, distinctive = (trained_as(setting.encoder, path) for path in setting.weights)
    return BalancedObjective(
        setting.encoder,
        (invariant, distinctive),
        similarity,
        setting.loss,
        Weights(labelled=cfg.labelled_weight, unlabelled=cfg.unlabelled_weight),
    )


def fits(cfg: TimeBalanceConfig, encoder: ActionEncoderConfig) -> None:
    """Refuse global-local contrast of an encoder that shows no features over time."""
    if cfg.global_local and (problem := encoder.unwatched):
        raise BadSetting("global_local", True, f"{problem}; set it false")


TIMEBALANCE = Method(
    name="timebalance",
    title="TimeBalance",
    paper="TimeBalance (Dave et al., CVPR 2023); its weights s by our default",
    hue="sky",
    config=TimeBalanceConfig,
    plan=plan,
    streams=streams,
    objective=objective,
    fits=fits,
    presets={
        "paper": {
            "optim.lr": 1e-4,
            "optim.weight_decay": 0.0,
            "optim.warmup_epochs": 10.0,
            "optim.clip_norm": None,
        }
    },
    needs="two teachers, each pre-trained and trained on the labels beside the student",
)
