"""What a recipe asks for: weights that fit, videos that are there."""

from __future__ import annotations

from pathlib import Path

from finepseudo.encoders.checkpoint_files import read_checkpoint
from finepseudo.encoders.describe import find_matches
from jobs.config.expected_input import weight_problem
from jobs.config.run import RunConfig
from jobs.doctor.checks import Finding
from shards.check.dataset import check_config

DECODED = 8
"""Videos that are decoded whole; `finepseudo check` decodes more."""


def weights(cfg: RunConfig, name: str) -> Finding:
    """Look whether the weights of an encoder are given, there, and fit its variant."""
    encoder = getattr(cfg, name)
    if problem := weight_problem(name, encoder):
        return Finding("fail", problem)
    file = encoder.weights_file
    if file is None:
        return Finding("ok", f"{encoder.variant} begins at random")
    tensors, _ = read_checkpoint(file)
    wanted = f"{name}.variant={encoder.variant} {name}.weights={str(encoder.weights).partition(':')[0]}:"
    for match in find_matches(tensors, file):
        if match.key.startswith(wanted):
            fits = match.fit is not None and not match.fit.problems
            return Finding("ok" if fits else "fail", match.line(), "" if fits else f"finepseudo weights {file}")
    found = f"{file}: not the tensors of {encoder.variant}"
    return Finding("fail", found, f"`finepseudo weights {file}` says what it is")


def data(cfg: RunConfig) -> Finding:
    """Read the lists, look for the videos, decode some."""
    if cfg.data.name == "synthetic_diving":
        return Finding("ok", "rendered by the run")
    found = check_config(cfg.data, decode=DECODED, max_bad_fraction=cfg.reading.max_bad_fraction)
    more = f"finepseudo check --recipe {Path(cfg.name)} says more"
    name = f"{found.dataset} {found.version}".strip()
    if found.problems:
        return Finding("fail", f"{name}: {found.problems[0]}", more)
    clips = f"{name}: {sum(found.clips.values()):,} clips, {found.n_classes} classes"
    return Finding("ok", f"{clips}, all there; {min(DECODED, sum(found.clips.values()))} decoded")
