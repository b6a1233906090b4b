"""The plan as lines: hours, bytes and memory by kind of stage, what more nodes bring, and what was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs.cluster.resources import most_that_divide
from jobs.config.run import RunConfig
from jobs.estimate.rates import Doubt, Rates
from jobs.estimate.work import Counts, Work
from jobs.pipeline.survey import bytes_text, duration

START_S = 20
"""Seconds until the workers of a stage stand, whatever their number."""
PAYS = 0.75
"""Twice the nodes pay while they bring the time below this share."""
ALWAYS = (
    f"starts: {START_S} s a stage, whatever the cluster",
    "many GPUs: in proportion to one; nothing was measured over a network",
    "decoding: on the cores; what a video engine takes from them was not measured",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """So many nodes, each with GPUs and cores."""

    nodes: int
    gpus: int
    cores: int

    @property
    def all_gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus


def hours(works: Sequence[Work], cluster: Cluster) -> float:
    """Time of all stages one after the other."""
    gpus, cores = max(1, cluster.all_gpus), cluster.nodes * cluster.cores
    starts = sum(bool(work.seconds or work.core_seconds) for work in works)
    return sum(work.hours(gpus, cores) for work in works) + starts * START_S / 3600


def stops_paying(works: Sequence[Work], cluster: Cluster, most: int = 1024) -> int:
    """Count the nodes from which on twice as many no longer bring a quarter of the time."""
    nodes = 1
    while nodes < most:
        now, then = (hours(works, _of(cluster, count)) for count in (nodes, 2 * nodes))
        if then > PAYS * now:
            return nodes
        nodes *= 2
    return nodes


def _of(cluster: Cluster, nodes: int) -> Cluster:
    return Cluster(nodes=nodes, gpus=cluster.gpus, cores=cluster.cores)


def lines(cfg: RunConfig, counts: Counts, works: Sequence[Work], rates: Rates, cluster: Cluster) -> Iterator[str]:
    """Write the plan for a terminal."""
    gpus, cores = max(1, cluster.all_gpus), cluster.nodes * cluster.cores
    yield f"cluster     {cluster.nodes} nodes x {cluster.gpus} GPUs, {cluster.cores} cores; rates of {rates.device}"
    yield f"{'stage':16}{'how many':>9}{'time':>14}{'bytes':>10}{'a GPU':>10}  bound by"
    for kind in dict.fromkeys(work.kind for work in works):
        some = [work for work in works if work.kind == kind]
        spent = sum(work.hours(gpus, cores) for work in some) * 3600
        reads = sum(work.core_seconds for work in some) / max(1, cores)
        computes = sum(work.seconds / max(1, min(gpus, work.most)) for work in some)
        bound = "" if not spent else "reading on the cores" if reads > computes else "computing"
        memory = f"{max(work.gib for work in some):.1f} GiB" if any(work.gib for work in some) else ""
        size = bytes_text(sum(work.bytes for work in some))
        yield f"{kind:16}{len(some):>9}{duration(spent):>14}{size:>10}{memory:>10}  {bound}".rstrip()
    total = hours(works, cluster)
    starts = sum(bool(work.seconds or work.core_seconds) for work in works)
    yield f"{'all':16}{len(works):>9}{duration(total * 3600):>14}  of it {duration(starts * START_S)} of starts"
    scaled = ", ".join(
        f"{count}: {duration(hours(works, _of(cluster, count)) * 3600)}" for count in _doubled(cluster.nodes)
    )
    yield f"nodes       {scaled}; more than {stops_paying(works, cluster)} do not pay"
    count = most_that_divide(gpus, cfg.batches.values())
    keys = {"workers": count, "embed_actors": gpus, "score_actors": gpus}
    typed = [f"resources.{name}={count}" for name, count in keys.items() if getattr(cfg.resources, name) != "auto"]
    yield f"all GPUs    {' '.join(typed) or 'nothing has to be typed (resources: auto)'}"
    yield from shard_lines(cfg, counts, count)
    doubts = dict.fromkeys(doubt for work in works for doubt in work.doubts)
    yield f"measured    {rates.source}"
    yield from (f"not measured: {doubt}" for doubt in (*_together(doubts), *ALWAYS))


def _together(doubts: Iterable[Doubt]) -> Iterator[str]:
    """Say what is estimated in the same way once: `gitdl, metric of tiny: as of vtn`."""
    found: dict[str, list[str]] = {}
    for what, how in doubts:
        found.setdefault(how, []).append(what)
    yield from (f"{', '.join(names)} {how}" for how, names in found.items())


def _doubled(nodes: int) -> list[int]:
    return sorted({1, *(2**power for power in range(int(math.log2(max(1, nodes))) + 3)), nodes})


def shard_lines(cfg: RunConfig, counts: Counts, ranks: int) -> Iterator[str]:
    """Compare the number of shards with those who write and read them."""
    shards = math.ceil(counts.clips / cfg.shards.clips_per_shard)
    yield f"shards      {shards:,} of up to {cfg.shards.clips_per_shard} clips, for {ranks} training workers"
    if shards < ranks:
        wanted = max(1, counts.clips // (4 * ranks))
        yield f"warn        fewer shards than workers: they are written one by one; shards.clips_per_shard={wanted}"
