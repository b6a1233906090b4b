"""The steps of a run as Slurm jobs.

    shards (array of CPU jobs, no Ray) -> manifest (one CPU job)
        -> pretrain (one Ray job, where several draws share it) -> draws (array: a Ray job on GPU nodes each)

The last draw to end writes the report of all.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jobs.config.run import RunConfig
from jobs.submit.draws import draw_of, lacks, shared_parts

SCRIPTS = Path(__file__).parents[2] / "slurm"
HELPER_MINUTES, HELPER_CPUS = 120, 4
"""Of a step without a script. One that is not done by then goes back into the queue and continues."""
MAIL = "--mail-type=FAIL"
"""Slurm tells the user when a job of the chain dies: those behind it are cancelled without a word."""
_SIZES = {"nodes": "1", "cpus-per-task": "1", "gpus-per-node": "0", "time": "no limit of ours"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One submission. `script`: a batch script; without one, a single-node job of submitit that calls `run_here`."""

    name: str
    script: Path | None
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    cfg: RunConfig
    # options of sbatch before the script, without --array
    options: tuple[str, ...] = ()
    # task of the array -> its name in dag.json; empty: the step has one entry, its own
    tasks: tuple[tuple[int, str], ...] = ()
    # whether the nodes need no GPU
    cpu: bool = False
    # kind of the stages that it makes; of an array, those of the last one
    makes: str = "data"

    @property
    def job_name(self) -> str:
        """Name of the job in the queue."""
        return self.cfg.name if self.tasks else f"{self.cfg.name}-{self.name}"

    @property
    def entries(self) -> tuple[str, ...]:
        """Names in dag.json."""
        return tuple(name for _, name in self.tasks) or (self.name,)

    def batch_line(self, ids: Sequence[str] = (), entries: Sequence[str] = ()) -> list[str]:
        """The sbatch command; `ids` are the jobs that must end well before, `entries` those to submit (all)."""
        name = f"--job-name={self.job_name}"
        after = [f"--dependency=afterok:{':'.join(ids)}", "--kill-on-invalid-dep=yes"] if ids else []
        wanted = [str(task) for task, entry in self.tasks if not entries or entry in entries]
        array = [f"--array={','.join(wanted)}"] if wanted else []
        return ["sbatch", "--parsable", name, MAIL, *after, *array, *self.options, str(self.script), *self.arguments]

    def done(self, entry: str) -> bool:
        """Tell whether the results are there and match the configuration."""
        if not self.tasks:
            return not lacks(self.cfg, self.makes)
        seed = next(seed for seed in self.cfg.seeds if entry == entry_of(seed))
        return not lacks(draw_of(self.cfg, seed), "report")

    def command(self) -> str:
        """The command as one line, with names of steps where job numbers will stand."""
        if self.script is None:
            return f"submitit: python -m jobs {shlex.join(self.arguments)}  [after {', '.join(self.needs)}]"
        return shlex.join(self.batch_line(self.needs))

    def size(self) -> str:
        """What it takes of the cluster."""
        if self.script is None:
            return f"1 node x {HELPER_CPUS} CPUs, {HELPER_MINUTES} min"
        asked = {**_SIZES, **dict(_directives(self.script)), **dict(_options(self.options))}
        gpus = f", {asked['gpus-per-node']} GPUs" if asked["gpus-per-node"] != "0" else ""
        array = len(self.tasks) or (_count(asked["array"]) if "array" in asked else 0)
        nodes = f"{asked['nodes']} nodes" if asked["nodes"] != "1" else "1 node"
        return f"{f'{array} x ' if array else ''}{nodes} x {asked['cpus-per-task']} CPUs{gpus}, {asked['time']}"


def entry_of(seed: int) -> str:
    """Name the entry of a label draw in dag.json."""
    return f"seed-{seed}"


def _directives(script: Path) -> Iterator[tuple[str, str]]:
    for line in script.read_text(encoding="utf-8").splitlines():
        if line.startswith("#SBATCH "):
            yield from _options(shlex.split(line)[1:])


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals:
            yield name, value


def _count(array: str) -> int:
    """Count the tasks of `0-15`, `0,3`, `0-63%8` or `0-30:10`."""
    parts = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", array.partition("%")[0])
    return sum(len(range(int(first), int(last or first) + 1, int(step or 1))) for first, last, step in parts)


def make_steps(
    cfg: RunConfig, recipe: str, passed: Sequence[str], options: Sequence[str] = (), parts: int | None = None
) -> list[Step]:
    """List the steps in an order in which each finds what it needs.

    passed: --data and overrides of the command line; options: sbatch options of the Ray jobs; parts: tasks that write
    shards.
    """
    arguments = ("--recipe", recipe, *passed, "--name", cfg.name)
    array = (f"--array=0-{parts - 1}",) if parts else ()
    partition = os.environ.get("CPU_PARTITION")
    where = (f"--partition={partition}",) if partition else ()
    no_gpu = ("--gpus-per-node=0",) if cfg.resources.device == "cpu" else ()
    own = SCRIPTS / f"run_{cfg.data.name}.sh"
    script = own if own.exists() else SCRIPTS / "run.sh"
    on_ray = partial(Step, script=script, cfg=cfg, options=(*no_gpu, *options))
    pretrain = on_ray(name="pretrain", arguments=(*arguments, "--shared"), needs=("manifest",), makes="pretrain")
    first = [pretrain] if len(cfg.seeds) > 1 and (cfg, "pretrain") in shared_parts(cfg) else []
    return [
        Step(
            name="shards",
            script=SCRIPTS / "write_shards.sh",
            arguments=arguments,
            needs=(),
            cfg=cfg,
            options=(*where, *array),
            cpu=True,
        ),
        Step(
            name="manifest",
            script=None,
            arguments=("write-shards", *arguments),
            needs=("shards",),
            cfg=cfg,
            cpu=True,
        ),
        *first,
        on_ray(
            name="draws",
            arguments=arguments,
            needs=tuple(step.name for step in first) or ("manifest",),
            makes="report",
            tasks=tuple((task, entry_of(seed)) for task, seed in enumerate(cfg.seeds)),
        ),
    ]


def plan_lines(steps: Sequence[Step]) -> Iterator[str]:
    """Write the plan for a terminal: what each step takes, and the command."""
    cfg = steps[0].cfg
    count = f"{len(cfg.seeds)} label draw{'s' if len(cfg.seeds) > 1 else ''}"
    yield f"plan        {cfg.folder}: {count}, each step after the one before"
    for step in steps:
        yield f"{step.name:12}{step.size()}"
        if step.script and not step.cpu:
            took = cfg.resources
            yield (
                f"            training takes {took.workers} workers, embedding {took.embed_actors}, scoring "
                f"{took.score_actors} (resources.workers, embed_actors, score_actors)"
            )
        yield f"            {step.command()}"
