"""The answers beside that of f_E: f_A alone by its last gallery and the mean of both, and which of them to give."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finepseudo.evaluation.votes import VOTE_TITLES, Vote, answers, choose_vote, vote_metrics
from finepseudo.methods.base import AnyMethod
from finepseudo.methods.table import settings
from finepseudo.run_folder.done import DONE, Input, Output
from finepseudo.run_folder.files import write_json, write_table
from finepseudo.run_folder.layout import METRICS, PREDICTIONS, VOTES_TABLE, WEIGHTS
from jobs.pipeline.stages.base import Keys, Stage, tags_of
from jobs.pipeline.stages.evaluation import VOTES as TEST_READS_NOT
from jobs.pipeline.stages.evaluation import EvaluationStage
from jobs.pipeline.stages.training import ALIGNMENT, Tags
from jobs.workers.labelling import read_truth
from jobs.workers.map_parts import plan_pool
from jobs.workers.part_files import GALLERY, matrix, read_parts

if TYPE_CHECKING:
    from finepseudo.evaluation.verification import Study
    from jobs.workers.votes import FrameVoteJob

Measured = dict[Vote, dict[str, Any]]
HELD_OUT, PARTS = "held_out", "frame"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("role", pa.string()),
        ("label", pa.int32()),
        ("p_E", pa.list_(pa.float32())),
        ("p_A", pa.list_(pa.float32())),
    ]
)
"""Columns of votes.parquet; docs/files.md says what each one is."""


@dataclass(frozen=True, kw_only=True)
class VotesStage(Stage):
    """Votes on the test clips and on held-out labelled ones; frame: the round of f_A, f_S and the gallery."""

    kind = "votes"
    resources = "mapping"
    test: EvaluationStage
    frame: int

    @property
    def method(self) -> AnyMethod:
        """Whose answers they are."""
        return self.test.method

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return self.paths.votes(self.test.seed, self.method.name)

    @property
    def frame_folder(self) -> Path:
        """Where f_A and f_S are."""
        return self.paths.frame_encoder(self.test.seed, self.method.name, self.frame)

    @property
    def scores_folder(self) -> Path:
        """Where the gallery is."""
        return self.paths.scores(self.test.seed, self.method.name, self.frame)

    @property
    def keys(self) -> Keys:
        """Those of the test, of the alignment and of the method's vote."""
        test = self.test.keys
        unread = tuple(key for key in test.without if key != TEST_READS_NOT)
        aligning = ("frame_encoder", "frame_input", *ALIGNMENT, "embed.gallery_dtype")
        own = self.method.keys_of("training" if self.method.vote is None else "vote")
        return Keys(tuple(dict.fromkeys((*test.read, *aligning, *own))), unread)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The test of f_E and what f_A aligns with, and the code of networks and method."""
        code = {**self.cfg.action_encoder.code, **self.cfg.frame_encoder.code, **self.method.code}
        made = {"evaluation": self.test.folder / DONE, "frame_encoder": self.frame_folder / DONE}
        return {
            **self.run_of.drawn(self.test.seed),
            **made,
            "gallery": Output(self.scores_folder / DONE, GALLERY),
            **code,
        }

    @property
    def outputs(self) -> Sequence[str]:
        """Metrics of each vote, and the numbers of every clip."""
        return (METRICS, VOTES_TABLE)

    @property
    def scratch(self) -> Sequence[str]:
        """Parts of the work."""
        return (HELD_OUT, PARTS)

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.test.seed, self.method, self.test.action)

    def run(self) -> None:
        """Vote, compare, choose."""
        from jobs.workers.votes import align_clips, verification

        (truth, classes), split = read_truth(self.paths.clips), self.run_of.split(self.test.seed)
        roles = {key: role for role in ("test", HELD_OUT) for key in split.keys(role)}
        labels = {role: {key: truth[key] for key in roles if roles[key] == role} for role in ("test", HELD_OUT)}
        by_action = self._by_action(self.test.folder)
        if labels[HELD_OUT]:
            by_action |= self._by_action(self._test_held_out(labels[HELD_OUT], classes))
        job, pool = self._job(len(classes)), plan_pool(self.cfg.resources.embed_actors, self.cfg.resources)
        with self.run_of.reporter.counting(self.name) as count:
            parts = align_clips(job, list(roles), pool, count)
        table = self._table(parts, roles, truth, by_action)
        write_table(self.folder / VOTES_TABLE, table)
        measured = {role: self._measured(table, role, classes) for role in labels}
        self._tell(measured, verification(job, parts, labels["test"], self.test.seed))
        for name in self.scratch:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _tell(self, measured: Mapping[str, Measured | None], pairs: Study | None) -> None:
        """Choose the answer; write the metrics and say it. pairs: how well f_A tells pairs of test clips apart."""
        wanted = self.cfg.evaluate.votes
        chosen, because = choose_vote(wanted, measured[HELD_OUT])
        shown = {vote: found for vote, found in (measured["test"] or {}).items() if wanted in ("all", vote)}
        about = {"method": self.method.name, "seed": self.test.seed, "rounds": self.test.action}
        by_score = pairs["score"]["balanced"] if pairs else None
        about |= {"frame_round": self.frame, "chosen": chosen, "because": because, "verification": by_score}
        about |= {"pairs": pairs}
        write_json(self.folder / METRICS, {**about, "test": shown, HELD_OUT: measured[HELD_OUT]})
        self.scalars(
            {**{f"votes/{vote}": found["top1"] for vote, found in shown.items()}, "votes/verification": by_score}
        )
        self.run_of.reporter.tell(f"{self.name}: the answer is {VOTE_TITLES[chosen]}: {because}")

    def _job(self, n_classes: int) -> FrameVoteJob:
        from jobs.workers.votes import FrameVoteJob

        return FrameVoteJob(
            cfg=self.cfg,
            run=self.paths.root.resolve(),
            folder=(self.folder / PARTS).resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=n_classes,
            frame_weights=(self.frame_folder / WEIGHTS).resolve(),
            gallery=(self.scores_folder / GALLERY).resolve(),
        )

    def _test_held_out(self, held: dict[str, int], classes: Sequence[str]) -> Path:
        """Test f_E on the held-out clips exactly as on the test clips; return where its predictions are."""
        folder = self.folder / HELD_OUT
        if not (folder / PREDICTIONS).is_file():
            self.test.predict(folder, held, classes)
        return folder

    @staticmethod
    def _by_action(folder: Path) -> dict[str, Any]:
        """Read the probabilities of f_E by key: [C] each, NaN for a clip that could not be read."""
        table = pq.read_table(folder / PREDICTIONS, columns=["key", "p"])
        return dict(zip(table["key"].to_pylist(), matrix(table["p"]), strict=True))

    def _table(
        self, parts: Sequence[Path], roles: Mapping[str, str], labels: Mapping[str, int], by_action: Mapping[str, Any]
    ) -> pa.Table:
        """Lay out the numbers of all clips: p_A is what the method makes of the class scores."""
        read = read_parts(parts, ["key", "scores", "valid"])
        keys, valid = read["key"].to_pylist(), read["valid"].to_numpy()
        p_e = np.stack([by_action[key] for key in keys]).astype(np.float64)
        usable = valid & np.isfinite(p_e).all(axis=1)
        score = np.where(usable[:, None], matrix(read["scores"]), 0).astype(np.float64)
        if self.method.p_a is None:
            raise ValueError(f"{self.method.name} says nothing of p_A")
        p_a = self.method.p_a(settings(self.cfg.method, self.method.name), score)
        p_a = np.where(usable[:, None], p_a, np.nan)
        columns = [keys, [roles[key] for key in keys], [labels[key] for key in keys], list(p_e), list(p_a)]
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)]
        return pa.table(arrays, schema=SCHEMA)

    @staticmethod
    def _measured(table: pa.Table, role: str, classes: Sequence[str]) -> Measured | None:
        """Measure every vote on the clips of a role, None where there are none."""
        rows = table.filter(pa.array([found == role for found in table["role"].to_pylist()]))
        if not rows.num_rows:
            return None
        given = answers(matrix(rows["p_E"]), matrix(rows["p_A"]))
        return vote_metrics(rows["key"].to_pylist(), rows["label"].to_pylist(), given, classes)
