"""`finepseudo plan RECIPE --nodes N --gpus M`: what a run takes on a cluster, before anything of it is asked for."""

from __future__ import annotations

import sys

from jobs.cli.dry_run import measure, read_annotations, rendered
from jobs.cluster.resources import most_that_divide
from jobs.config.run import RunConfig
from jobs.estimate.rates import shipped
from jobs.estimate.table import Cluster, lines
from jobs.estimate.work import Counts, works
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError


def plan(cfg: RunConfig, cluster: Cluster, *, calibrate: bool) -> int:
    """Print the table."""
    counts = count(cfg)
    rates = shipped()
    if calibrate:
        from jobs.cli.calibrate import calibrated

        gpus = max(1, cluster.all_gpus)
        asked = cfg.resources.workers
        rates = calibrated(cfg, rates, most_that_divide(gpus, cfg.batches.values()) if asked == "auto" else asked)
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        found = list(works(cfg, make_plan(Run(cfg, reporter)), counts, rates))
    for line in lines(cfg, counts, found, rates, cluster):
        sys.stdout.write(line + "\n")
    return 0


def count(cfg: RunConfig) -> Counts:
    """Count clips from the lists, or from what the recipe renders."""
    if rendered(cfg):
        made = cfg.data.synthetic
        classes = len(made.class_names)
        labelled = max(1, round(cfg.split.ratio * made.train_per_class)) * classes
        return Counts(
            labelled=labelled,
            unlabelled=made.train_per_class * classes - labelled,
            test=made.test_per_class * classes,
            gallery=min(cfg.embed.gallery_per_class * classes, labelled),
            classes=classes,
        )
    try:
        found = read_annotations(cfg)
    except UserError as error:
        raise UserError(f"plan: {error}; set data.root; the lists are enough, no video is read") from error
    size = measure(cfg, found)
    return Counts(
        labelled=size.labelled,
        unlabelled=size.unlabelled,
        test=size.test,
        gallery=size.gallery,
        classes=found.known or len(found.classes),
    )
