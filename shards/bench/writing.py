"""Writing shards against the bare ffmpeg command that does the same transcode, one process a clip."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from shards.write.config import ShardConfig
from shards.write.normalise import GOP
from shards.write.plans import plan_shards
from shards.write.writer import write_shard


def contenders(sources: pa.Table, folder: Path) -> dict[str, Callable[[], None]]:
    """Build `write-shards` (transcode, check, tar, index, hash) and, where it is installed, `ffmpeg`."""
    cfg = ShardConfig(clips_per_shard=sources.num_rows)
    (plan,) = plan_shards(sources, cfg)
    paths = sources["path"].to_pylist()
    program = shutil.which("ffmpeg")

    def ours() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as shards:
            write_shard(plan, Path(shards), cfg)

    def bare() -> None:
        for path in paths:
            subprocess.run([str(program), *arguments(path, folder / "bare.mp4", cfg.short_side)], check=True)

    return {"write-shards": ours} | ({"ffmpeg": bare} if program else {})


def arguments(source: str, target: Path, short_side: int) -> Sequence[str]:
    """Ask ffmpeg for the profile h264 of `shards.write.normalise`, on one thread."""
    size = f"scale=w='if(gt(iw,ih),-2,{short_side})':h='if(gt(iw,ih),{short_side},-2)',format=yuv420p"
    return (
        *("-nostdin", "-v", "error", "-y", "-filter_threads", "1", "-threads", "1", "-i", source),
        *("-map", "0:v:0", "-an", "-sn", "-dn", "-map_metadata", "-1", "-vf", size, "-threads", "1"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", str(GOP), "-bf", "0"),
        *("-x264-params", "scenecut=0:open-gop=0", "-movflags", "+faststart"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", str(target)),
    )
