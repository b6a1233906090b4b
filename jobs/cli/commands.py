"""From arguments to a command; what a command needs is imported when it runs: errors of keys come without torch."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finepseudo.run_folder.layout import RunPaths
from jobs.config.keys import described, explained_yaml
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.config.schema import recipe_schema
from shards.errors import UserError

WORKS_IN_A_RUN = frozenset(
    {"split", "pretrain", "train", "embed", "score", "evaluate", "report", "predict", "status", "clean"}
)
"""Commands that work in a run as it was made."""
_DRY_BY_ITSELF = frozenset({"submit", "doctor"})
"""Commands that know themselves what --dry-run means."""
_SLOW_TO_BEGIN = frozenset({"bench", "export", "init", "review", "weights"})
"""Commands without a configuration whose imports, or first videos, take seconds."""


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a submit call."""
    if arguments.command == "compare" and arguments.runs:
        from jobs.cli.compare import compare_folders

        return compare_folders(arguments)
    if arguments.command in _WITHOUT_A_RUN:
        if arguments.command in _SLOW_TO_BEGIN:
            _say_at_once(arguments.command)
        return _WITHOUT_A_RUN[arguments.command](arguments)
    cfg = configure(arguments)
    if arguments.command == "keys" or arguments.print_config:
        section = arguments.section if arguments.command == "keys" else ""
        sys.stdout.write(explained_yaml(cfg) if arguments.print_config else described(cfg, section))
        return 0
    if arguments.dry_run and arguments.command == "tune":
        from jobs.tune import tune

        return tune.dry_run(cfg, Path(arguments.space))
    if arguments.dry_run and arguments.command not in _DRY_BY_ITSELF:
        _say_at_once(arguments.command, cfg.folder)
        from jobs.cli.dry_run import dry_run

        return dry_run(cfg, arguments.command, force=arguments.force)
    _say_at_once(arguments.command, cfg.folder)
    return _run_command(cfg, arguments, main)


def _say_at_once(command: str, folder: Path | None = None) -> None:
    """Tell who sits before a terminal what is begun: what is imported next takes seconds."""
    if sys.stderr.isatty():
        sys.stderr.write(f"finepseudo {command}{f': {folder}' if folder else ''}\n")
        sys.stderr.flush()


def _bench(arguments: argparse.Namespace) -> int:
    from jobs.cli.bench import bench

    return bench(arguments.what, arguments.options, arguments.overrides)


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


def _weights(arguments: argparse.Namespace) -> int:
    from jobs.cli.weights import weights

    return weights(arguments.files)


def _init(arguments: argparse.Namespace) -> int:
    from jobs.cli.init import init_command

    return init_command(arguments)


def _methods(arguments: argparse.Namespace) -> int:
    from jobs.cli.methods import described as described_methods

    sys.stdout.write(described_methods(arguments.method))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from jobs.cli.export import export_command

    return export_command(arguments)


def _review(arguments: argparse.Namespace) -> int:
    from jobs.cli.export import named_run
    from jobs.pipeline.review import review
    from jobs.pipeline.run_folder import read_config

    run = named_run("review", arguments.run)
    page = review(
        read_config(run.root), run, arguments.out, count=arguments.count, seed=arguments.seed, name=arguments.method
    )
    where = [f"name={run.root.name}", f"out={run.root.parent}", "split.reviewed=reviewed.csv"]
    then = shlex.join(["finepseudo", "run", "--recipe", str(run.config), *where])
    sys.stdout.write(f"{page}: open it in a browser, save reviewed.csv, then: {then}\n")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from jobs.cli.reproduce import reproduce

    return reproduce(arguments)


_WITHOUT_A_RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "bench": _bench,
    "schema": _schema,
    "init": _init,
    "weights": _weights,
    "methods": _methods,
    "export": _export,
    "review": _review,
    "reproduce": _reproduce,
}
"""Commands that take no configuration of a run."""


def _run_command(cfg: RunConfig, arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    match arguments.command:
        case "check":
            from jobs.cli.check import check

            code = check(cfg, arguments.decode, arguments.missing)
        case "submit":
            code = _submit(cfg, arguments, main)
        case "run" if arguments.draw is not None or arguments.shared:
            from jobs.cli.draw import make_shared, run_draw

            force, index = arguments.force, arguments.draw
            again = {"force": force, "verify_first": arguments.verify}
            code = make_shared(cfg, force=force) if arguments.shared else run_draw(cfg, index, **again)
        case "clean":
            from jobs.cli.clean import clean

            kept = arguments.keep_rounds or cfg.embed.keep_rounds or 1
            code = clean(cfg, keep=kept, yes=arguments.yes)
        case "plan":
            from jobs.cli.plan import plan
            from jobs.estimate.table import Cluster

            cluster = Cluster(nodes=arguments.nodes, gpus=arguments.gpus, cores=arguments.cores)
            code = plan(cfg, cluster, calibrate=arguments.calibrate)
        case "doctor":
            from jobs.cli.doctor import doctor

            named = bool(arguments.recipe or arguments.target or arguments.data)
            code = doctor(cfg, named=named, as_json=arguments.json, dry=arguments.dry_run)
        case "write-shards" if arguments.part or arguments.verify or arguments.repair:
            code = _shards(cfg, arguments)
        case "compare":
            from jobs.cli.compare import compare

            code = compare(cfg, arguments)
        case "tune":
            from jobs.tune.tune import tune

            code = tune(cfg, Path(arguments.space), force=arguments.force, best=arguments.best)
        case "status":
            from jobs.cli.status import status

            code = status(cfg, every=arguments.all)
        case "predict":
            from jobs.cli.predict import predict_command

            code = predict_command(cfg, arguments)
        case _:
            from jobs.cli.run import run

            verify_first = getattr(arguments, "verify", False)
            code = run(cfg, arguments.command, force=arguments.force, verify_first=verify_first)
    return code


def _submit(cfg: RunConfig, arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    from jobs.cli.draw import report_of_all
    from jobs.cli.dry_run import to_come
    from jobs.pipeline.plan import refuse_without_weights, weight_problems
    from jobs.submit.draws import lacks, open_draws
    from jobs.submit.submit import submit

    if not arguments.dry_run and arguments.cluster != "dry-run":
        refuse_without_weights(cfg, to_come(cfg, "run"))
        code = submit(cfg, arguments, main)
        if not open_draws(cfg) and lacks(cfg, "report"):  # the last draw was killed before it came to that
            report_of_all(cfg)
        return code
    code = submit(cfg, arguments, main)
    for problem in weight_problems(cfg, to_come(cfg, "run")):
        sys.stdout.write(f"warn        {problem}\n")
    return code


def _shards(cfg: RunConfig, arguments: argparse.Namespace) -> int:
    if arguments.part:
        from jobs.cli.write_part import write_part

        return write_part(cfg, arguments.part, force=arguments.force)
    from jobs.cli.shard_check import repair, verify

    return repair(cfg, force=arguments.force) if arguments.repair else verify(cfg)


def _named(run: str) -> dict[str, str]:
    """Say a run by its name, or by its folder where there is more than a name to it."""
    path = Path(run)
    return {"name": path.name} if path.name == run else {"name": path.name, "out": str(path.parent)}


def configure(arguments: argparse.Namespace) -> RunConfig:
    """Make the configuration that the command line describes.

    A command that works in a run reads what that run was made with; what its line says otherwise is refused.
    """
    extra: dict[str, Any] = {}
    if arguments.data:
        from jobs.cli.data import data_section

        extra.update(data_section(arguments.data))
    if arguments.name:
        extra["name"] = arguments.name
    if run := getattr(arguments, "run", None):
        extra |= _named(run)
    extra |= {key: value for key in ("methods", "seeds") if (value := getattr(arguments, key, None))}
    if arguments.command == "submit":
        from jobs.submit.slurm import runs_of_site

        arguments.overrides = [*runs_of_site(arguments.overrides), *arguments.overrides]
    target = getattr(arguments, "target", None)
    if target and arguments.recipe:
        raise UserError(
            f"{arguments.command}: {target} and --recipe {arguments.recipe} both name a recipe; give one of them"
        )
    recipe = arguments.recipe or target
    if arguments.command in WORKS_IN_A_RUN and not getattr(arguments, "all", False):
        said = bool(recipe or arguments.data)
        where = [text for text in arguments.overrides if text.startswith(("name=", "out="))]
        asked = load(recipe or "smoke", arguments.overrides if said else where, extra)
        if RunPaths(asked.folder).config.is_file():
            from jobs.cli.in_folder import of_folder

            return of_folder(asked, arguments.command, arguments.overrides, said=said)
    return load(recipe or "smoke", arguments.overrides, extra)
