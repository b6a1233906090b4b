"""`finepseudo init DIR`: from a folder of videos, or a folder and a list, to a list with roles and a recipe that fits.

Both are plain files to look at and to change; nothing of a run depends on how they were made.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from jobs.cli.own_list import write_list
from jobs.cli.own_recipe import NO_POOL, Facts, own_recipe
from shards.annotations import load
from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.exports import Item, file_name, read_export
from shards.annotations.lines import loose_name, one_form
from shards.annotations.list_lines import is_video_name
from shards.annotations.roles import role_word, source_of
from shards.check.decode import Decoded, decode_clips, decode_lines
from shards.check.hopeless import hopeless
from shards.check.missing import in_common
from shards.errors import SampleError, UserError, counted
from shards.files import check_writable, walked, write_bytes
from shards.sources.presence import missing_paths
from shards.sources.probe import open_video
from shards.splits.own_roles import hold_out_test, labelled_by_list
from shards.types import NO_LABEL

LISTS = (".csv", ".tsv", ".txt", ".json")
MOST_MISSING = 0.5


def init_command(arguments: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    if not 0 < arguments.test_share <= 0.5:
        raise UserError(f"--test-share {arguments.test_share} is outside (0, 0.5]; 20 % is written 0.2")
    return init(
        arguments.folder,
        arguments.list,
        arguments.out or Path(f"{arguments.folder.resolve().name}.csv"),
        test_share=arguments.test_share,
        device=arguments.device,
        force=arguments.force,
    )


def _has_gpu(device: str) -> bool:
    """Tell whether the recipe is for a GPU; `auto` looks, for which torch is imported."""
    if device != "auto":
        return device == "gpu"
    import torch

    return torch.cuda.is_available()


def init(folder: Path, given: Path | None, out: Path, *, test_share: float, device: str, force: bool) -> int:
    """Write the list `out` and, beside it, a recipe; say what was found. UserError when most videos are not there."""
    recipe = out.with_suffix(".yaml")
    if out.suffix.lower() != ".csv":
        raise UserError(f"init: --out {out}: the list is written as CSV; give a name that ends in .csv")
    for path in (out, recipe):
        if path.exists() and not force:
            raise UserError(f"init: {path} is there already; give another --out, or --force to write it again")
    if not folder.is_dir():
        raise UserError(f"init: {folder} is no folder; give the folder of the videos")
    next(walked(folder))
    found = read_folder(folder, given, out)
    missing = missing_paths(found.clips["path"].to_pylist())
    there = found.clips.num_rows - len(missing)
    if there < (1 - MOST_MISSING) * found.clips.num_rows:
        raise UserError(
            f"init: {len(missing):,} of {found.clips.num_rows:,} videos are not in {folder}, first {missing[0]}; "
            + (in_common(missing) or "give the folder that the list is of")
        )
    decoded = decode_clips(found.clips, DatasetConfig(name="csv"))
    lines = [
        *decode_lines(decoded, found.clips.num_rows),
        *([f"missing or empty: {counted(len(missing), 'path')}, first {missing[0]}"] if missing else []),
    ]
    found, left_out = _usable(found, decoded, missing if given is None else ())
    found = _with_roles(found, test_share)
    facts = _facts(found, decoded)
    if left_out:
        lines.append(f"left out of the list: {counted(left_out, 'clip')} that cannot be used")
    _say(found, lines)
    for path in (recipe, out):
        check_writable(path)
    write_list(found, out)
    write_bytes(recipe, own_recipe(facts, out, gpu=_has_gpu(device)).encode())
    sys.stdout.write(
        f"wrote {out} and {recipe}\nnext: finepseudo check --recipe {recipe} --decode all\n"
        f"then: finepseudo run --recipe {recipe}\n"
    )
    if facts.alone:
        sys.stdout.write(
            f"{NO_POOL}: the recipe trains on the labels alone. For FinePseudo add videos without a class (role "
            "unlabelled, or the folder unlabelled/) and make the list again\n"
        )
    return 0


def read_folder(folder: Path, given: Path | None, out: Path) -> Annotations:
    """Read the folder by its classes, or by the list that is given or lies alone in it."""
    listed = given or _only_list(folder, out)
    if listed is None:
        return load(DatasetConfig(name="folder", root=str(folder)))
    places = _places(folder)
    if listed.suffix.lower() == ".json":
        items = read_export(listed, lambda path: _frame_rate(_located(path, folder, places)))
        return _annotations([(item, _located(item.path, folder, places)) for item in items])
    found = load(DatasetConfig(name="csv", root=str(folder), lists={"all": str(listed.absolute())}))
    return _relocated(found, folder, places)


def _only_list(folder: Path, out: Path) -> Path | None:
    """Find the list in a folder without class folders."""
    if any(
        path.is_dir() and role_word(path.name) is None and not path.name.startswith(".") for path in folder.iterdir()
    ):
        return None
    own = {out.absolute(), out.with_suffix(".yaml").absolute()}
    lists = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in LISTS and p.absolute() not in own]
    if len(lists) > 1:
        names = ", ".join(path.name for path in lists)
        raise UserError(f"init: {folder} holds {len(lists)} lists ({names}); name the right one with --list")
    return lists[0] if lists else None


def _places(folder: Path) -> Mapping[str, list[Path]]:
    """File name, and the name without its ending, without capitals -> where it lies below the folder."""
    places: dict[str, list[Path]] = defaultdict(list)
    for place, _, names in walked(folder):
        for name in names:
            if is_video_name(name):
                for called in {loose_name(name), loose_name(Path(name).stem)}:
                    places[called].append(Path(place) / name)
    return places


def _located(path: str, folder: Path, places: Mapping[str, Sequence[Path]]) -> str:
    """Find the file that a list or a tool means: as written, below the folder, or by its name where only one has it.

    A name that is written with other capitals or in another Unicode form counts where none is as written.
    """
    for candidate in (Path(path), folder / path):
        if candidate.exists():
            return str(candidate.absolute())
    name = file_name(path)
    called = places.get(loose_name(name), ())
    found = [place for place in called if name in {place.name, place.stem}] or called
    if len(found) > 1:
        raise UserError(f"init: {path} may be {found[0]} or {found[1]}; write the folder into the list")
    return str(found[0].absolute()) if found else str((folder / path.lstrip("/")).absolute())


def _frame_rate(path: str) -> float:
    try:
        with open_video("init", Path(path)) as video:
            return float(video.rate)
    except SampleError as error:
        raise UserError(f"init: {path}: its frame rate is needed and cannot be read: {error.reason}") from error


def _annotations(rows: Sequence[tuple[Item, str]]) -> Annotations:
    rows = [(replace(item, label=one_form(item.label)), path) for item, path in rows]
    classes = sorted({item.label for item, _ in rows if item.label})
    if not classes:
        raise UserError("init: no clip of the export has a class; label some of them")
    label = {name: index for index, name in enumerate(classes)}
    clips = [
        Clip(
            name=Path(path).stem,
            path=path,
            label=label.get(item.label, NO_LABEL),
            role="train",
            source=source_of(Path(path).stem) or path,
            start=item.start,
            end=item.end,
        )
        for item, path in rows
    ]
    return make_annotations(clips, classes, "export", "1")


def _relocated(found: Annotations, folder: Path, places: Mapping[str, Sequence[Path]]) -> Annotations:
    """Look for clips of a list that are not where it says; a list may come from another machine."""
    base = f"{folder.absolute()}/"
    rows = [
        Clip(
            name=Path(row["path"]).stem,
            path=_located(row["path"].removeprefix(base), folder, places),
            label=row["label"],
            role=row["role"],
            source=row["source"],
            start=row["start"],
            end=row["end"],
        )
        for row in found.clips.to_pylist()
    ]
    return replace(make_annotations(rows, found.classes, "csv", "1"), remarks=found.remarks)


def _with_roles(found: Annotations, test_share: float) -> Annotations:
    """Hold a test out where there is none, and write down who is labelled where some clips have no class."""
    if "test" not in found.clips["role"].to_pylist():
        found = hold_out_test(found, test_share)
    return labelled_by_list(found) or found


def _usable(found: Annotations, decoded: Sequence[Decoded], missing: Sequence[str]) -> tuple[Annotations, int]:
    """Leave out what was seen to be no video, and `missing`: one file of fifty would stop a run; count them."""
    broken = {clip.key for clip in decoded if clip.reason not in ("", "missing_file")}
    gone = set(missing)
    rows = found.clips.select(["key", "path"]).to_pylist()
    kept = pa.array([row["key"] not in broken and row["path"] not in gone for row in rows])
    clips = found.clips.filter(kept)
    return replace(found, clips=clips), found.clips.num_rows - clips.num_rows


def _facts(found: Annotations, decoded: Sequence[Decoded]) -> Facts:
    roles = Counter(found.clips["role"].to_pylist())
    good = [clip for clip in decoded if not clip.reason]
    if not good:
        raise UserError(
            f"init: none of {len(decoded)} videos can be decoded, first {decoded[0].path}: {decoded[0].reason}"
        )
    return Facts(
        classes=tuple(found.classes),
        labelled=roles["labelled"] or roles["train"],
        pool=roles["unlabelled"],
        listed=bool(roles["labelled"]),
        frames=sorted(clip.frames for clip in good)[len(good) // 2],
        short_side=sorted(min(clip.width, clip.height) for clip in good)[len(good) // 2],
    )


def _say(found: Annotations, lines: Sequence[str]) -> None:
    roles = Counter(found.clips["role"].to_pylist())
    shown = ", ".join(f"{n:,} {role}" for role, n in sorted(roles.items()))
    clips, classes = counted(found.clips.num_rows, "clip"), counted(len(found.classes), "class", "classes")
    sys.stdout.write(f"{clips} of {classes}: {shown}\n")
    labels = [(row["role"], row["label"]) for row in found.clips.select(["role", "label"]).to_pylist()]
    trained, tested = ([lb for r, lb in labels if r in of] for of in (("labelled", "train"), ("test",)))
    warnings = (f"warning: {text}" for text in hopeless(trained, tested, found.classes))
    for line in (*(f"note: {remark}" for remark in found.remarks), *lines, *warnings):
        sys.stdout.write(line + "\n")
