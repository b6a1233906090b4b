"""What a method is: the contract that every file of this folder fills in and that the pipeline and the report read.

A method says what it trains on (streams), how (an objective), in which stages (a plan of requests) and, where it labels
a pool, how it votes. It starts from round 0, the training on the labels alone, which all methods of a label draw share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from finepseudo.encoders.contract import code_of
from finepseudo.training.config import OptimiserConfig
from shards.settings import Settings, setting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from finepseudo.consistency.network import Network
    from finepseudo.consistency.side import ByKey
    from finepseudo.encoders.action_encoder import ActionEncoder
    from finepseudo.encoders.config import ActionEncoderConfig
    from finepseudo.training.config import CrossEntropyConfig
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

Role = Literal["labelled", "unlabelled", "all", "ruled_out"]
Hue = Literal["grey", "orange", "sky", "green", "blue", "purple", "red"]

LABELLED = "labelled"
"""Name of the stream of labelled clips."""
MAIN = "action_encoder"
"""Name of the training of f_E whose result is tested; others of a round have names of their own."""
OPTIM = "optim"
"""The key of every method that names its optimiser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodConfig(Settings):
    """Keys of a method, `method.<name>.<key>` in a recipe; a method without keys of its own takes this as it is."""

    optim: OptimiserConfig | None = setting(
        None,
        "optimiser of its trainings of f_E after round 0, a section; null = that of action_stage.self_train at its "
        "fraction of the rate",
        source="this project: one for all methods",
    )


C = TypeVar("C", bound=MethodConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Clips that a training reads at every step; the batch of a step is `{name: ClipBatch}`, the first stream leads.

    role: whose clips. `labelled` carries true labels and the accepted pseudo-labels that the training names;
    `unlabelled` (the pool) and `all` carry no label, and neither does `ruled_out`, the clips of the pool that got no
    pseudo-label but of which the vote rules out classes. share: clips for each clip of the labelled batch (mu). views:
    what is seen of a clip, axis V of the batch's frames. The leading stream counts the epochs, the others never end.
    """

    name: str
    role: Role
    views: tuple[ViewConfig, ...]
    share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no reader knows: clips of another role would be read without their labels."""
        if self.role not in get_args(Role):
            raise ValueError(f"stream {self.name}: role {self.role}: one of {', '.join(get_args(Role))}")
        if not self.views or not self.share > 0:
            raise ValueError(f"stream {self.name}: needs a view and a share above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainAction:
    """Ask for a training of f_E.

    number: the round, which names the folder; name: the folder in it, another one for a second network (a teacher).
    start: round whose f_E it goes on from, None for the encoder's own start; start_of: the name of that training.
    labels: round whose accepted pseudo-labels are trained on beside the true ones. plain: cross-entropy on labelled
    clips in place of the method's own streams and objective. times: it takes the optimiser steps of so many rounds;
    epochs: so many passes over its leading stream instead (an objective that counts steps cannot ask for them). part of
    parts: where it lies in the schedule of the learning rate. reads: (round, name) of earlier trainings of this method
    whose weights the objective wants. side: earlier requests whose numbers of single clips it wants. as_first: it is
    trained as round 0 is (steps, optimiser, order of the clips), such as a teacher. keys: those of the method that its
    objective reads, None = all `training_keys`.
    """

    number: int
    name: str = MAIN
    start: int | None
    start_of: str = MAIN
    labels: int | None = None
    plain: bool = False
    times: int = 1
    epochs: int | None = None
    part: int = 0
    parts: int = 1
    reads: tuple[tuple[int, str], ...] = ()
    side: tuple[Score | Similarity, ...] = ()
    as_first: bool = False
    keys: tuple[str, ...] | None = None

    @property
    def begins(self) -> bool:
        """Tell whether it is trained as round 0 is."""
        return self.number == 0 or self.as_first


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainFrame:
    """Ask for metric learning of f_A and f_S, which goes on from the round before; see `TrainAction`."""

    number: int
    labels: int | None = None
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Embed:
    """Ask for p_E, its spread and, where `frames`, the embeddings by f_A of labelled and unlabelled clips.

    passes: and for what each pass of MC-dropout says, see `Passes`.
    """

    number: int
    frames: bool
    passes: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Ask for the class-wise alignability of the pool (eq. 7)."""

    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Similarity:
    """Ask how alike the parts of a video look to the f_E of the training `of`, for labelled and unlabelled clips."""

    number: int
    of: str = MAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """Ask for pseudo-labels by the method's vote; `scores`: it wants class-wise alignability too."""

    number: int
    scores: bool


Request = TrainAction | TrainFrame | Embed | Score | Similarity | Label
"""A stage that a method asks for. Its settings, inputs and folder are the pipeline's business."""
Plan = list[list[Request]]
"""Groups in order; requests of one group do not depend on each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What an objective is built from, on every rank alike (draw from `seed` alone).

    encoder: f_E as this training starts with it; fresh: makes another f_E of the same kind, from the encoder's own
    start (a second student, a teacher whose weights follow). steps: optimiser steps of this training. labels: the
    table of pseudo-labels it is trained on; weights: files of the trainings that the request `reads`; side: what the
    requests of its `side` made: S [N, C] of the pool (Score), the similarity [N, 1] (Similarity).
    """

    request: TrainAction
    encoder: ActionEncoder
    fresh: Callable[[], ActionEncoder]
    loss: CrossEntropyConfig
    n_classes: int
    steps: int
    seed: int
    labels: Path | None = None
    weights: tuple[Path, ...] = ()
    side: tuple[ByKey, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """Class probabilities over the passes of MC-dropout, each [N, C]: their mean and their standard deviation.

    tempered_mean and tempered_std: those of softmax(logits / action_encoder.mc_temperature).
    """

    mean: Floats
    std: Floats
    tempered_mean: Floats
    tempered_std: Floats


@dataclass(frozen=True, slots=True)
class Pool:
    """The numbers of an unlabelled pool in key order; rows of unusable clips are zero.

    usable: bool [N]; score: mean alignability S with each class [N, C], None where no scores are made; p_e: class
    probabilities of f_E [N, C]; spread: their standard deviation over MC-dropout at the argmax [N]; passes: more of
    MC-dropout, where the method votes on it; bar: what the confidence of each class has to exceed [C] where it was
    measured, None for the method's own constant.
    """

    usable: Bools
    score: Floats | None
    p_e: Floats
    spread: Floats
    passes: Passes | None = None
    bar: Floats | None = None


@dataclass(frozen=True, slots=True)
class Votes:
    """p [N, C]: what is voted with (its argmax is the label, its maximum the confidence); accepted: bool [N].

    p_a: class probabilities by alignment [N, C] where the method makes them, for the record; spread: the uncertainty
    [N] that was voted with, None = that of the pool; negative: bool [N, C], classes that a clip surely is not.
    """

    p: Floats
    accepted: Bools
    p_a: Floats | None = None
    spread: Floats | None = None
    negative: Bools | None = None

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The largest entry of each row [N]."""
        found: npt.NDArray[np.float32] = self.p.max(axis=1, initial=float("-inf")).astype("float32")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """The labels of a whole pool in key order, each [N]: class (-1 = unusable), uncertainty, whether it is accepted.

    classes: how many there are.
    """

    classes: int
    label: npt.NDArray[np.integer]
    spread: Floats
    accepted: Bools


@dataclass(frozen=True, kw_only=True, slots=True)
class Method(Generic[C]):
    """One method. Functions take its config first.

    name: word of recipes and folders; title: of tables; paper: where it comes from; hue: of its curves.
    plan(cfg, rounds, last): requests of rounds 1.., and labels of round 0; `last`: the pool is labelled once more at
    the end. streams(cfg, request, view): what a training of f_E reads, None for the labelled clips as `view` shows
    them. objective(cfg, setting): what it minimises, None for cross-entropy. network(cfg, encoder, classes): what it
    trains and tests in place of f_E, around it. fits(cfg, encoder): refuses what the encoder cannot do, by BadSetting
    of its own key, before anything runs. vote(cfg, pool): the labels of a round; by_row: it looks at each clip
    by itself, so that a large pool is labelled piece by piece; keep(cfg, number, labels): which labels of the whole
    pool stay accepted in round `number`; passes: it votes on `Pool.passes`.
    files(cfg): files from outside that trainings read, by the key that names each, None where it is not given;
    ready(cfg, pool): refuses, by UserError, unlabelled clips of which they say nothing.
    pool: it is of no use without unlabelled clips. aligns: it needs f_A and f_S. p_a(cfg, scores): class probabilities
    [N, C] by alignment, of mean scores [N, C]: what f_A alone answers to a video, None = it is not asked. tested: the
    weights that are tested and that label the pool, `teacher` for the objective's `MeanTeacher` of that name.
    training_keys: keys of the config that trainings read beside `optim`; the others are read by the vote (a method
    without a vote needs not list them).
    presets: name -> keys below `method.<name>`, dotted, with values that together are a setting of the paper or of its
    code; what a recipe says itself wins. threshold: the
    key that the confidence of its labels is compared with. needs: what else the user has to give, in words.
    """

    name: str
    title: str
    paper: str
    hue: Hue
    config: type[C]
    plan: Callable[[C, int, bool], Plan]
    streams: Callable[[C, TrainAction, ViewConfig], tuple[Stream, ...]] | None = None
    objective: Callable[[C, Setting], Objective] | None = None
    network: Callable[[C, ActionEncoder, int], Network] | None = None
    files: Callable[[C], Mapping[str, Path | None]] | None = None
    ready: Callable[[C, Sequence[str]], None] | None = None
    fits: Callable[[C, ActionEncoderConfig], None] | None = None
    vote: Callable[[C, Pool], Votes] | None = None
    by_row: bool = False
    keep: Callable[[C, int, Labels], Bools] | None = None
    passes: bool = False
    pool: bool = True
    aligns: bool = False
    p_a: Callable[[C, Floats], Floats] | None = None
    tested: Literal["student", "teacher"] = "student"
    training_keys: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    threshold: str | None = None
    needs: str = ""

    @property
    def code(self) -> dict[str, Path]:
        """Give the source files of a user's own method by a name each; what they import is not followed."""
        parts = [getattr(self, part.name) for part in fields(self)]
        names = {str(getattr(part, "__module__", "")) for part in parts if callable(part)}
        return code_of(name for name in names if name.partition(".")[0] != "finepseudo" and name in sys.modules)

    def keys_of(self, stage: Literal["training", "vote"]) -> tuple[str, ...]:
        """Dotted configuration keys of the method that a kind of stage reads."""
        names = [key.name for key in fields(self.config)]
        trained = names if self.vote is None else [OPTIM, *self.training_keys]
        chosen = trained if stage == "training" else [name for name in names if name not in trained]
        return tuple(f"method.{self.name}.{name}" for name in chosen)

    def keys_of_training(self, request: TrainAction) -> tuple[str, ...]:
        """Dotted configuration keys of the method that one training reads: its objective's, and the optimiser."""
        optimiser = f"method.{self.name}.{OPTIM}"
        chosen = tuple(key for key in self.keys_of("training") if key != optimiser and not request.plain)
        if request.keys is not None:
            chosen = tuple(f"method.{self.name}.{key}" for key in request.keys)
        return chosen if request.begins else (*chosen, optimiser)

    def trained_streams(self, cfg: C, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
        """Say what a training of f_E reads; `view` is what the run shows f_E."""
        if request.plain or self.streams is None:
            return (Stream(name=LABELLED, role="labelled", views=(view,)),)
        return self.streams(cfg, request, view)


AnyMethod = Method[Any]


def flat(requests: Sequence[Sequence[Request]]) -> list[Request]:
    """List the requests of a plan in order."""
    return [request for group in requests for request in group]
