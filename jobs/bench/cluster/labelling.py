"""Memory of the driver while it labels a pool: `python -m jobs.bench.cluster.labelling FOLDER CLIPS CLASSES KEEP`.

A process of its own measures, for memory that was once taken stays in the peak. It imports what the driver of a run has
imported by then; KEEP: see `embed.keep_classes`, 0 = all classes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from finepseudo.bench.race import say
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.layout import PSEUDO_LABELS
from jobs.workers.embed import to_table
from jobs.workers.labelling import label_pool_of
from jobs.workers.part_files import chunks, write_part
from jobs.workers.score import SCHEMA

CHUNK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """What a labelling took: peak memory of its process and what of it imports are, MB; the table's MB; seconds."""

    peak: float
    imports: float
    table: float
    processor_s: float


def key_of(number: int) -> str:
    """Name a clip."""
    return f"clip{number:06d}"


def write_numbers(folder: Path, clips: int, classes: int) -> None:
    """Write p_E and class scores of a pool in parts, as the stages leave them."""
    rng = np.random.default_rng(0)
    for row in chunks([key_of(number) for number in range(clips)], CHUNK):
        n = len(row["keys"])
        p = torch.from_numpy(rng.standard_normal((n, classes), np.float32) * 3).softmax(1)
        write_part(
            folder / "embeddings" / row["part"], to_table(row["keys"], None, p, torch.zeros(n), torch.ones(n) > 0)
        )
        scores = list(rng.random((n, classes), np.float32))
        columns = [pa.array(row["keys"], pa.string()), pa.array(scores, SCHEMA.field("scores").type)]
        write_part(folder / "scores" / row["part"], pa.table(columns, schema=SCHEMA))


def measured(folder: Path, clips: int, classes: int, keep: int | None) -> Labelled:
    """Label the pool by FinePseudo in a process of its own."""
    line = [sys.executable, "-m", __name__, str(folder), str(clips), str(classes), str(keep or 0)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return Labelled(**json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str]) -> int:
    """Label and say what it took."""
    import ray.data
    import ray.train.torch  # noqa: F401 - as the driver has them

    folder, clips, classes, keep = Path(argv[0]), int(argv[1]), int(argv[2]), int(argv[3])
    before = resource.getrusage(resource.RUSAGE_SELF)
    truth = {key_of(number): number % classes for number in range(clips)}
    label_pool_of(
        METHODS["finepseudo"],
        METHODS["finepseudo"].config(),
        folder,
        number=0,
        embeddings=folder / "embeddings",
        scores=folder / "scores",
        pool=frozenset(truth),
        truth=truth,
        classes=[str(number) for number in range(classes)],
        files={key: f"videos/{key}.mp4" for key in truth},
        keep=keep or None,
    )
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"peak": after.ru_maxrss / 1e3, "imports": before.ru_maxrss / 1e3, "processor_s": spent}
    say(json.dumps({**found, "table": (folder / PSEUDO_LABELS).stat().st_size / 1e6}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
