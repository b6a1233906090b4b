"""`finepseudo doctor [RECIPE]`: one line a check of this machine, cluster and folder, and of what the recipe asks."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from jobs.cli.dry_run import bytes_written
from jobs.config.run import RunConfig
from jobs.doctor import cluster, device, other_node, recipe, storage
from jobs.doctor.checks import Check, exit_code, run_checks, summary


def doctor(cfg: RunConfig, *, named: bool, as_json: bool, dry: bool) -> int:
    """Run the checks, with those of the recipe where one is `named`; 0, or 1 when one failed. dry: list them only."""
    checks = checks_of(cfg, named=named)
    if dry:
        sys.stdout.write("".join(f"{name}\n" for name, _ in checks))
        return 0
    results = []
    for result in run_checks(checks):
        results.append(result)
        if not as_json:
            sys.stdout.write(result.line() + "\n")
            sys.stdout.flush()
    text = json.dumps([result.plain() for result in results], indent=1) if as_json else summary(results)
    sys.stdout.write(text + "\n")
    return exit_code(results)


def checks_of(cfg: RunConfig, *, named: bool) -> list[tuple[str, Check]]:
    """List the checks in the order in which they are run: the quick ones first."""
    folder = Path(cfg.out)
    machine: list[tuple[str, Check]] = [
        ("driver", partial(device.driver, cfg)),
        ("CUDA", partial(device.cuda, cfg)),
        ("NVDEC", partial(device.nvdec, cfg)),
        ("DALI", device.dali),
        ("ports", cluster.ports),
        ("Slurm", cluster.slurm),
        ("folder locks", partial(storage.locks, folder)),
        ("folder speed", partial(storage.speed, folder)),
        ("new files", partial(storage.negative_cache, folder)),
        ("free disk", lambda: storage.room(folder, bytes_written(cfg) if named else None)),
    ]
    asked: list[tuple[str, Check]] = [
        ("f_E weights", partial(recipe.weights, cfg, "action_encoder")),
        ("f_A weights", partial(recipe.weights, cfg, "frame_encoder")),
        ("data", partial(recipe.data, cfg)),
    ]
    return [*machine, *(asked if named else []), ("nodes", other_node.collective), ("Ray", cluster.ray_workers)]
