"""TG-FixMatch: a second network sees only what changes from frame to frame; both label the pool together.

The second one starts as f_E does and is trained on the labels as long as round 0 is, which takes the place of the
paper's supervised warm-up. The test is of colours alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finepseudo.methods.base import LABELLED, Method, MethodConfig, Plan, Setting, Stream, TrainAction
from finepseudo.methods.side_by_side import UNLABELLED, ConsistencyConfig, StrongConfig, pool_views
from shards.settings import BadSetting, section, setting

if TYPE_CHECKING:
    from finepseudo.encoders.config import ActionEncoderConfig
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig

CHANGE = "change_encoder"
"""Name of the training of the second network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TgFixMatchConfig(MethodConfig):
    """Keys of `tg_fixmatch`."""

    mu: float = setting(1.0, "unlabelled clips of a step for each labelled one", source="LTG: 5 + 5 a GPU", above=0)
    tau: float = setting(
        0.3, "least confidence of the averaged prediction that counts", source="LTG: .3", at_least=0, at_most=1
    )
    weight: float = setting(1.0, "weight of the cross-entropy on strong views", source="FixMatch: 1", at_least=0)
    align_weight: float = setting(
        1.0,
        "weight of 1 - cosine between the four stages of both networks; the one of changes is not moved by it",
        source="LTG aligns all four; its weight is open",
        at_least=0,
    )
    contrast_weight: float = setting(
        1.0,
        "weight of the contrast between both networks' features of one clip, the mean over both as the anchor",
        source="LTG's code: .5 of their sum",
        at_least=0,
    )
    temperature: float = setting(0.5, "of the contrast", source="LTG's code: .5", above=0)
    weak_flip: float | None = setting(
        None, "probability of a left-right flip in the weak view; null = as f_E usually sees", at_least=0, at_most=1
    )
    same_frames: bool = setting(
        True, "whether the weak and the strong view show the same frames", source="FixMatch: of one image"
    )
    strong: StrongConfig = section(StrongConfig, "how the strong view differs")


def plan(cfg: TgFixMatchConfig, rounds: int, last: bool) -> Plan:
    """Train the network of changes on the labels, then both."""
    del cfg, last
    if not rounds:
        return []
    return [
        [TrainAction(number=1, name=CHANGE, start=None, as_first=True, keys=())],
        [TrainAction(number=1, start=0, times=rounds, reads=((1, CHANGE),))],
    ]


def streams(cfg: TgFixMatchConfig, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
    """Read labelled clips alone at first, then the pool beside them in a weak and a strong view."""
    labelled = Stream(name=LABELLED, role="labelled", views=(view,))
    if request.name == CHANGE:
        return (labelled,)
    look = ConsistencyConfig(weak_flip=cfg.weak_flip, same_frames=cfg.same_frames, strong=cfg.strong)
    return (labelled, Stream(name=UNLABELLED, role="unlabelled", views=pool_views(look, view), share=cfg.mu))


def objective(cfg: TgFixMatchConfig, setting: Setting) -> Objective:
    """Cross-entropy of changes at first; then both networks, by labels, by their common label, and by each other."""
    from finepseudo.consistency.teacher import trained_as
    from finepseudo.consistency.two_stream import ChangeObjective, TwoStream, TwoStreamObjective

    if setting.request.name == CHANGE:
        return ChangeObjective(setting.encoder, setting.loss)
    parts = TwoStream(
        tau=cfg.tau,
        agreement=cfg.weight,
        alignment=cfg.align_weight,
        contrast=cfg.contrast_weight,
        temperature=cfg.temperature,
    )
    change = trained_as(setting.encoder, setting.weights[0])
    return TwoStreamObjective(setting.encoder, change, setting.loss, parts)


def fits(cfg: TgFixMatchConfig, encoder: ActionEncoderConfig) -> None:
    """Refuse alignment inside an encoder that does not show its stages."""
    if cfg.align_weight and (problem := encoder.unwatched):
        raise BadSetting("align_weight", cfg.align_weight, f"{problem}; set it to 0")


TG_FIXMATCH = Method(
    name="tg_fixmatch",
    title="TG-FixMatch",
    paper="Xiao et al., CVPR 2022 (LTG): colours and temporal gradients",
    hue="green",
    config=TgFixMatchConfig,
    plan=plan,
    streams=streams,
    objective=objective,
    fits=fits,
    presets={
        "paper": {
            "optim.name": "sgd",
            "optim.lr": 0.2,
            "optim.nesterov": False,
            "optim.weight_decay": 1e-4,
            "optim.warmup_epochs": 30.0,
            "optim.clip_norm": 40.0,
        }
    },
    needs="a second action encoder, trained on the labels beside it",
)
