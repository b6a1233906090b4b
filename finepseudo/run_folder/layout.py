"""Where the files of one run are: the only place that names them. Writer, report and predict ask here.

`method` None stands for what all methods of a label draw share (round 0 of the encoders).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
CHECKPOINTS = "checkpoints"
LOG = "metrics.jsonl"
FAILURE = "failure.txt"
PSEUDO_LABELS = "pseudo_labels.parquet"
PSEUDO_LABELS_CSV = "pseudo_labels.csv"
PSEUDO_METRICS = "pseudo_metrics.json"
ACCEPTED = "accepted.parquet"
METRICS = "metrics.json"
PREDICTIONS = "predictions.parquet"
EXAMPLES = "examples.npz"
VOTES_TABLE = "votes.parquet"
REPORT = "report.html"
REVIEW = "review.html"
SHARED = re.compile(r"drawn|pretrain|round-\d+|\..*")
"""Folders of a label draw that are no method's."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of one run are (README: "What you get")."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions and machine."""
        return self.root / "environment.json"

    @property
    def forced(self) -> Path:
        """What of the data was changed under --force."""
        return self.root / "forced.json"

    @property
    def clips(self) -> Path:
        """Every clip of the data set that can be used."""
        return self.data / "clips.parquet"

    @property
    def data(self) -> Path:
        """Clip table, quarantine and shards."""
        return self.root / "data"

    @property
    def quarantine(self) -> Path:
        """Clips that cannot be used, with the reason."""
        return self.data / "quarantine.parquet"

    @property
    def shards(self) -> Path:
        """Tar shards, index, manifest."""
        return self.data / "shards"

    @property
    def features(self) -> Path:
        """Frame features of f_A's image encoder, while it is frozen."""
        return self.root / "features"

    @property
    def metrics(self) -> Path:
        """Every curve, one JSON object a line."""
        return self.root / LOG

    @property
    def comparison(self) -> Path:
        """What the names of the files of `finepseudo compare` begin with."""
        return self.root / "compare"

    def seeds(self) -> list[tuple[int, Path]]:
        """List the label draws that are there, by number."""
        return numbered(self.root, "seed")

    def seed(self, seed: int) -> Path:
        """Everything that depends on one label draw."""
        return self.root / f"seed-{seed}"

    def split(self, seed: int) -> Path:
        """Who is labelled."""
        return self.seed(seed) / "split.parquet"

    def drawn(self, seed: int) -> Path:
        """The folder of the split as it was drawn, where a person's labels are laid over it in `split`."""
        return self.seed(seed) / "drawn"

    def pretrain(self, seed: int | None) -> Path:
        """GITDL of f_A; seed None: that which all label draws share."""
        return (self.root if seed is None else self.seed(seed)) / "pretrain"

    def methods(self, seed: int) -> list[str]:
        """List the methods that are there, by name."""
        folder = self.seed(seed)
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and not SHARED.fullmatch(p.name))

    def method(self, seed: int, method: str | None) -> Path:
        """Everything of one method."""
        return self.seed(seed) if method is None else self.seed(seed) / method

    def rounds(self, seed: int, method: str | None) -> list[tuple[int, Path]]:
        """List the rounds that are there, by number."""
        return numbered(self.method(seed, method), "round")

    def round(self, seed: int, method: str | None, number: int) -> Path:
        """One round of a method: where its pseudo-labels are, of round 0 too."""
        return self.method(seed, method) / f"round-{number:02d}"

    def part_of_round(self, seed: int, method: str | None, number: int, name: str) -> Path:
        """The folder `name` of a round; that of round 0 is shared by all methods of the label draw."""
        return self.round(seed, method if number else None, number) / name

    def action_encoder(self, seed: int, method: str | None, number: int, name: str = "action_encoder") -> Path:
        """f_E of a round."""
        return self.part_of_round(seed, method, number, name)

    def frame_encoder(self, seed: int, method: str | None, number: int) -> Path:
        """f_A and f_S of a round."""
        return self.part_of_round(seed, method, number, "frame_encoder")

    def embeddings(self, seed: int, method: str | None, number: int) -> Path:
        """Part files of embeddings and p_E."""
        return self.part_of_round(seed, method, number, "embeddings")

    def scores(self, seed: int, method: str | None, number: int) -> Path:
        """Part files of class-wise alignability."""
        return self.part_of_round(seed, method, number, "scores")

    def similarity(self, seed: int, method: str | None, number: int) -> Path:
        """Part files of how alike the parts of a video look."""
        return self.part_of_round(seed, method, number, "similarity")

    def evaluation(self, seed: int, method: str) -> Path:
        """Test results of one method."""
        return self.method(seed, method) / "evaluation"

    def votes(self, seed: int, method: str) -> Path:
        """The other answers of one method, and which one was chosen."""
        return self.method(seed, method) / "votes"


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """List the subfolders `prefix-<number>` by number."""
    if not folder.is_dir():
        return []
    found = ((p, re.fullmatch(rf"{prefix}-(\d+)", p.name)) for p in folder.iterdir() if p.is_dir())
    return sorted((int(match.group(1)), p) for p, match in found if match)
