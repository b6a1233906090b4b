"""The only loop over seeds, methods and rounds: the requests of the methods become stages.

A plan is a list of groups; the stages of one group do not depend on each other (f_E and f_A of a round).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.methods.base import (
    MAIN,
    AnyMethod,
    Embed,
    Label,
    Request,
    Score,
    Similarity,
    TrainAction,
    TrainFrame,
    flat,
)
from finepseudo.methods.table import METHODS, settings
from finepseudo.run_folder.done import is_done
from jobs.config.expected_input import weight_problem
from jobs.config.run import RunConfig
from jobs.config.sections import InputConfig
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.stages.budget import is_accounted
from jobs.pipeline.stages.data import DataStage
from jobs.pipeline.stages.embeddings import EmbeddingsStage
from jobs.pipeline.stages.evaluation import EvaluationStage
from jobs.pipeline.stages.frame_encoder import FrameEncoderStage
from jobs.pipeline.stages.pretrain import ActionPretrainStage, PretrainStage, is_elsewhere
from jobs.pipeline.stages.pseudo_labels import PseudoLabelsStage
from jobs.pipeline.stages.report import ReportStage
from jobs.pipeline.stages.scores import ScoresStage
from jobs.pipeline.stages.similarity import SimilarityStage
from jobs.pipeline.stages.split import DrawnStage, SplitStage
from jobs.pipeline.stages.votes import VotesStage
from shards.errors import UserError

Plan = list[list[Stage]]
Encoder = ActionEncoderConfig | FrameEncoderConfig

COMMANDS: dict[str, frozenset[str]] = {
    "write-shards": frozenset({"data"}),
    "split": frozenset({"split"}),
    "pretrain": frozenset({"pretrain"}),
    "train": frozenset({"frame_encoder", "action_encoder"}),
    "embed": frozenset({"embeddings"}),
    "score": frozenset({"scores", "similarity", "pseudo_labels"}),
    "evaluate": frozenset({"evaluation", "votes"}),
    "report": frozenset({"report"}),
}
"""Which kinds of stages a command runs; `run` runs all."""

SHOWN = frozenset({"pseudo_labels", "evaluation", "votes"})
"""Kinds of stages whose results the report shows."""

STARTS = {"frame_encoder": "pretrain", "action_encoder": "action_encoder"}
"""The kind of stage in which each encoder takes up its weights."""


def make_plan(run: Run) -> Plan:
    """List every stage of a run in an order in which each finds what it needs."""
    plan: Plan = [[DataStage(run_of=run)]]
    aligns = any(method.aligns for method in methods_of(run.cfg))
    begins = run.cfg.seeds[:1] if run.cfg.pretrain.shared else run.cfg.seeds
    if is_elsewhere(run):
        begins = ()
    for seed in run.cfg.seeds:
        plan.append([SplitStage(run_of=run, seed=seed)])
        if run.cfg.split.reviewed and (aligns or run.cfg.action_encoder.pretrains):
            plan.append([DrawnStage(run_of=run, seed=seed)])
        if seed in begins:
            plan += _pretrainings(run, seed, aligns=aligns)
        plan += _round_zero(run, seed)
        for method in sorted(methods_of(run.cfg), key=partial(is_accounted, run.cfg)):
            requests = requests_of(run.cfg, method)
            plan += [[stage_for(run, seed, method, request) for request in group] for group in requests]
            plan += [[stage] for stage in _tests(run, seed, method, flat(requests))]
    shown = (stage for group in plan for stage in group if stage.kind in SHOWN)
    return [*plan, [ReportStage(run_of=run, shown=tuple(stage.identity.record for stage in shown))]]


def _pretrainings(run: Run, seed: int, *, aligns: bool) -> Iterator[list[Stage]]:
    """Train both encoders on videos alone, as far as the methods need them and they have no published weights."""
    stages: list[Stage] = [PretrainStage(run_of=run, seed=seed)] if aligns else []
    if run.cfg.action_encoder.pretrains:
        stages.append(ActionPretrainStage(run_of=run, seed=seed))
    if stages:
        yield stages


def methods_of(cfg: RunConfig) -> list[AnyMethod]:
    """List the methods of a run, in its order."""
    return [METHODS[name] for name in cfg.methods]


def requests_of(cfg: RunConfig, method: AnyMethod) -> list[list[Request]]:
    """Ask a method for its plan."""
    return method.plan(settings(cfg.method, method.name), cfg.rounds, cfg.embed.last_round)


def _round_zero(run: Run, seed: int) -> Iterator[list[Stage]]:
    """Training on the labels alone, and what the first labels are made from: shared by all methods of a seed."""
    methods = methods_of(run.cfg)
    aligns = any(method.aligns for method in methods)
    first: list[Request] = [TrainAction(number=0, start=None, plain=True)]
    if aligns:
        first.append(TrainFrame(number=0))
    groups: list[list[Request]] = [first]
    if aligns or any(method.vote is not None for method in methods):
        # with passes, whoever votes: a method that comes later leaves what the others were labelled by
        groups.append([Embed(number=0, frames=aligns, passes=True)])
    if aligns:
        groups.append([Score(number=0)])
    for group in groups:
        yield [stage_for(run, seed, None, request) for request in group]


def stage_for(run: Run, seed: int, method: AnyMethod | None, request: Request) -> Stage:
    """Make the stage that a method asks for; method None is the shared round 0."""
    match request:
        case TrainAction():
            return ActionEncoderStage(run_of=run, seed=seed, method=method, request=request)
        case TrainFrame():
            return FrameEncoderStage(run_of=run, seed=seed, method=method, request=request)
        case Embed():
            return EmbeddingsStage(run_of=run, seed=seed, method=method, request=request)
        case Score():
            return ScoresStage(run_of=run, seed=seed, method=method, request=request)
        case Similarity():
            return SimilarityStage(run_of=run, seed=seed, method=method, request=request)
        case Label():
            if method is None:
                raise ValueError("round 0 is labelled by each method")
            return PseudoLabelsStage(run_of=run, seed=seed, method=method, request=request)


def _tests(run: Run, seed: int, method: AnyMethod, requests: list[Request]) -> list[Stage]:
    """Test the f_E of the last training, then f_A by the last gallery, where the method makes p_A of it.

    Pairs are shown of the method's own f_A.
    """
    action = max((r.number for r in requests if isinstance(r, TrainAction) and r.name == MAIN), default=0)
    frame = max((r.number for r in requests if isinstance(r, TrainFrame)), default=0)
    shown = frame if method.aligns else None
    test = EvaluationStage(run_of=run, seed=seed, method=method, action=action, frame=shown)
    if method.p_a is None or run.cfg.evaluate.votes == "action":
        return [test]
    last = max((r.number for r in requests if isinstance(r, Score)), default=0)
    return [test, VotesStage(run_of=run, test=test, frame=last)]


def unfinished(plan: Plan, kinds: Collection[str] | None = None) -> list[Stage]:
    """List what is not done, of the given kinds only where given."""
    stages = (stage for group in plan for stage in group if kinds is None or stage.kind in kinds)
    return [stage for stage in stages if not is_done(stage.identity)]


def weight_problems(cfg: RunConfig, stages: Iterable[Stage], *, given: bool = False) -> Iterator[str]:
    """Name what the stages cannot start from: weights and files not there or not theirs, a class that cannot be built.

    given: weights that the recipe leaves out are not asked for.
    """
    made = list(stages)
    kinds = {stage.kind for stage in made if not isinstance(stage, ActionPretrainStage)}
    for name, kind in STARTS.items():
        if kind not in kinds:
            continue
        encoder = getattr(cfg, name)
        absent, problem = encoder.without_weights, weight_problem(name, encoder)
        if problem and not (given and absent):
            yield problem
        seen = cfg.frame_input if name == "frame_encoder" else cfg.action_input
        if (absent or not problem) and (wrong := _cannot_start(encoder, seen)):
            yield f"{name}.{wrong}"
    wanted = {key: file for stage in made if isinstance(stage, ActionEncoderStage) for key, file in stage.files.items()}
    for key, file in wanted.items():
        if file is None:
            yield f"{key} = null: a file is needed; `finepseudo methods {key.split('.')[1]}` says what it holds"
        elif not file.is_file():
            yield f"{key}: {file} is not there; give the path of the file"


def _cannot_start(encoder: Encoder, seen: InputConfig) -> str | None:
    """Say why an encoder cannot start. A row of the table as it is, started at random, needs no look, and no torch."""
    if not (encoder.is_own or encoder.options or encoder.start.file):
        return None
    from finepseudo.encoders.describe import start_problem

    return start_problem(encoder, seen.sampling.frames, seen.augment.size)


def refuse_without_weights(cfg: RunConfig, stages: Iterable[Stage]) -> None:
    """Raise UserError before anything runs: the stage that starts from the weights may be hours away."""
    for problem in weight_problems(cfg, stages):
        raise UserError(problem)
