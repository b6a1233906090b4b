"""`finepseudo reproduce TABLE --dry-run`: files, weights and hours that a table takes; nothing is written."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from finepseudo.run_folder.done import record_of
from finepseudo.run_folder.files import sha256_json
from jobs.cli.dry_run import read_annotations, rendered, split_problems, to_come
from jobs.cli.plan import count
from jobs.config.run import RunConfig
from jobs.estimate.rates import shipped
from jobs.estimate.table import Cluster, hours
from jobs.estimate.work import Counts, Work, works
from jobs.paper.cells import PaperRun, Size
from jobs.paper.table import PaperTable
from jobs.pipeline.plan import Plan, make_plan, weight_problems
from jobs.pipeline.stages.base import Run
from jobs.pipeline.survey import duration
from jobs.progress import Reporter
from shards.annotations.known_counts import KNOWN_COUNTS, KnownCounts
from shards.errors import UserError, counted

KINETICS = KnownCounts(400, 240_000, 20_000, 400, 400)
"""Its lists shrink as videos vanish: FinePseudo's numbers (paper, sec 4.1)."""

FIRST_KINDS = frozenset({"data", "split", "pretrain"})
"""Stages of a run that ends with the pre-training."""


def dry_run(table: PaperTable, size: Size, runs: Sequence[PaperRun], cluster: Cluster) -> int:
    """Print what a table takes; 0 where all that it needs is here, else 2."""
    lines: list[str] = []
    every: dict[str, Work] = {}
    needs: dict[str, None] = {}
    unknown = 0
    for run in runs:
        needs |= dict.fromkeys(problems(run))
        own, known = estimate(run)
        new = {key: work for key, work in own.items() if key not in every}
        every |= new
        unknown += not known
        taken = f", {len(own) - len(new)} more shared" if len(new) < len(own) else ""
        time = f"about {spent(list(new.values()), cluster)}" if known else "hours unknown without its lists"
        what = f"{', '.join(run.cfg.methods)}; label draws {', '.join(map(str, run.cfg.seeds))}"
        lines.append(f"  {run.cfg.name}: {len(new)} stages{taken}; {time}; {what}")
    machine = f"{counted(cluster.nodes, 'node')} x {counted(cluster.gpus, 'GPU')}, {cluster.cores} cores a node"
    head = [f"{table.name}: {table.title}", f"published   {table.source}", f"folder      {size.folder(table)}"]
    head += [f"needs       {text}" for text in needs] or ["needs       nothing that is not here"]
    rates = f"rates of {shipped().device}; `finepseudo plan` says which of them are measured"
    more = f", and {counted(unknown, 'run')} of unknown size" if unknown else ""
    whole = f"about {spent(list(every.values()), cluster)} on {machine}{more} ({rates})"
    foot = f"all         {whole if unknown < len(runs) else 'hours unknown'}"
    sys.stdout.write("\n".join([*head, f"runs        {len(runs)}", *lines, foot]) + "\n")
    return UserError.exit_code if needs else 0


def refuse_what_is_missing(runs: Sequence[PaperRun]) -> None:
    """Raise UserError with all that the runs lack, before one of them begins."""
    lacking = dict.fromkeys(text for run in runs for text in problems(run))
    if lacking:
        more = "; --only WORD leaves runs out, --dry-run says what each needs" if len(runs) > 1 else ""
        raise UserError(f"reproduce: {counted(len(lacking), 'thing')} missing{more}\n" + "\n".join(lacking))


def problems(run: PaperRun) -> Iterator[str]:
    """Name the data, lists and weights that a run lacks."""
    cfg = run.cfg
    try:
        if not rendered(cfg):
            yield from split_problems(cfg, read_annotations(cfg))
    except UserError as error:
        yield str(error)
        if cfg.split.lists and not Path(cfg.split.lists).expanduser().is_dir():
            yield f"split.lists: {cfg.split.lists} is not here; give the folder of the published lists"
    yield from weight_problems(cfg, to_come(cfg, "pretrain" if run.until == "pretrain" else "run"))


def estimate(run: PaperRun) -> tuple[dict[str, Work], bool]:
    """Count the work of each stage, by a hash of all that decides what it makes, and tell whether its size is known."""
    cfg = run.cfg
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        plan = make_plan(Run(cfg, reporter))
    if run.until == "pretrain":
        plan = [kept for group in plan if (kept := [stage for stage in group if stage.kind in FIRST_KINDS])]
    counts = counts_of(cfg)
    stages = (stage for group in plan for stage in group)
    nothing = [Work(kind=stage.kind, seconds=0, core_seconds=0, most=1) for stage in stages]
    found = works(cfg, plan, counts, shipped()) if counts else nothing
    return dict(zip(fingerprints(plan), found, strict=True)), counts is not None


def fingerprints(plan: Plan) -> list[str]:
    """Hash, for every stage, its place, its keys and where its inputs come from."""
    made: dict[Path, str] = {}
    for stage in (stage for group in plan for stage in group):
        identity = stage.identity
        inputs = [made.get(record_of(path), str(path)) for _, path in sorted(identity.inputs.items())]
        unlike = str(stage.paths.root) if stage.kind == "report" else ""
        made[identity.record] = sha256_json([stage.name, dict(identity.config), inputs, unlike])
    return list(made.values())


def counts_of(cfg: RunConfig) -> Counts | None:
    """Count clips from the lists or, where these are not here, from what a whole copy of the data set holds."""
    try:
        return count(cfg)
    except UserError:
        known = known_counts(cfg)
    if known is None:
        return None
    ratio = labelled_share(cfg)
    labelled = max(known.train_classes, math.ceil(ratio * known.train))
    return Counts(
        labelled=labelled,
        unlabelled=known.train - labelled,
        test=known.test,
        gallery=min(labelled, cfg.embed.gallery_per_class * known.train_classes),
        classes=known.classes,
    )


def known_counts(cfg: RunConfig) -> KnownCounts | None:
    """Find how many clips the data set of a recipe has."""
    data = cfg.data
    names = {
        "diving48": ("diving48", "V2"),
        "finegym": (f"finegym-{data.subset}", data.version),
        "finediving": (f"finediving-{data.subset.lower()}".rstrip("-"), data.task or "action"),
        "ssv2": ("ssv2", data.version),
        "ucf101": ("ucf101", f"split{data.split}"),
        "hmdb51": ("hmdb51", f"split{data.split}+unused"),
        "penn_action": ("penn_action", "phases"),
    }
    return KINETICS if data.name == "kinetics400" else KNOWN_COUNTS.get(names.get(data.name, ("", "")))


def labelled_share(cfg: RunConfig) -> float:
    """Give the share of labels: of published lists it is the number at the end of their folder's name."""
    number = re.search(r"_(\d+)$", cfg.split.lists)
    return int(number[1]) / 100 if number else cfg.split.ratio


def spent(found: Sequence[Work], cluster: Cluster) -> str:
    """Write the time of some stages, one after the other."""
    return duration(hours(found, cluster) * 3600)
