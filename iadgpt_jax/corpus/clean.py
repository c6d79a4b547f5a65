"""Clean: which collected images to keep. Nothing is removed; every image that is not kept is told of, with the reason.

    cleaned/images.jsonl      {"image", "category", "sha256", "url"} of every image kept, in order of category and name
    cleaned/report.json       counts, and left_out[].{path,why}

An image is left out that cannot be decoded, is too small, has the pixels of one before it or looks like it, or has the
pixels of an evaluation image or looks like it, turned and mirrored as well. Fingerprints of what was looked at stay on
disk, so a stopped cleaning goes on; what they lead to is decided anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.corpus.fingerprints import Alike, Fingerprint, Fingerprints, all_orientations
from iadgpt_jax.data.images import pixel_hash, read_image
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.data.sources.prepared import PreparedSource, is_prepared
from iadgpt_jax.data.sources.tree import Tree, is_image
from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal

Watch = Callable[[Iterator[Any], int], Iterable[Any]]
EVALUATION_DISTANCE = 6  # up to this an image counts as an evaluation image, whatever `Limits` say of near-duplicates
MASKS = "ground_truth"  # folders of evaluation sets whose images are no photographs


@dataclass(frozen=True)
class Limits:
    """least_side: pixels of the shorter side. distance: up to this Hamming distance of perceptual hashes two images
    count as near-duplicates; -1: only equal pixels do."""

    least_side: int = 224
    distance: int = 4


class Evaluation:
    """What the images to be kept out of a corpus look like: their pixels' hashes, and perceptual hashes in all eight
    orientations."""

    def __init__(self) -> None:
        self.pixels: dict[str, str] = {}
        self.alike = Alike()

    def add(self, name: str, sha256: str, phashes: Sequence[int]) -> None:
        self.pixels.setdefault(sha256, name)
        for phash in phashes:
            self.alike.add(phash, name)


def clean(
    workdir: Path, limits: Limits = Limits(), exclude: Sequence[Path] = (),
    watch: Watch = lambda done, total: done, watch_excluded: Watch = lambda done, total: done,
) -> dict[str, Any]:  # fmt: skip
    """Decide which of the collected images to keep.

    Args:
      exclude: evaluation sets, prepared ones or folders of images. watch, watch_excluded: hand on what is done, of so
      many collected and excluded images.

    Returns the report. Raises InputError where nothing was collected, nothing can be kept, or an evaluation set holds
    no image.
    """
    found = list(_collected(workdir))
    if not found:
        raise InputError(f"no images in {workdir / files.COLLECTED}; run tools/build_corpus.py collect first")
    with Journal(workdir / files.FINGERPRINTS_FILE) as journal:
        made = Fingerprints(journal).of(workdir, [path for path, _, _ in found], watch)
    evaluation = read_evaluation(exclude, watch_excluded)
    kept, left_out = decide(found, made, limits, evaluation)
    if not kept:
        raise InputError(f"no image of {workdir / files.COLLECTED} can be kept; the first: {left_out[0].why}")
    values = {"images": len(found), "kept": len(kept), "left_out_images": len(left_out),
              "least_side": limits.least_side, "distance": limits.distance,
              "excluded_images": len(evaluation.pixels)}  # fmt: skip
    files.write_report(workdir / files.CLEAN_REPORT, values, left_out)
    files.write_lines(workdir / files.IMAGES_FILE, kept)
    return values


def decide(
    found: Sequence[tuple[str, str, str]], made: Sequence[Fingerprint], limits: Limits, evaluation: Evaluation
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """(lines of images.jsonl, files left out). found: (path, category, address) of each image; made: its fingerprint.

    Of images that are alike the first one is kept."""
    kept, left_out = [], []
    pixels: dict[str, str] = {}
    alike = Alike()
    for (path, category, url), one in zip(found, made, strict=True):
        why = _fault(one, limits, evaluation) or _repeats(one, limits, pixels, alike)
        if why:
            left_out.append(LeftOut(path, why))
            continue
        pixels[one.sha256] = path
        alike.add(one.phash, path)
        kept.append({"image": path, "category": category, "sha256": one.sha256, "url": url})
    return kept, left_out


def read_evaluation(exclude: Sequence[Path], watch: Watch = lambda done, total: done) -> Evaluation:
    """The images of prepared datasets, and of folders with images anywhere below them."""
    evaluation = Evaluation()
    for directory in exclude:
        if not directory.is_dir():
            raise InputError(f"no such folder: {directory}; --exclude names a prepared dataset or a folder of images")
        images, total = _excluded(directory)
        if not total:
            raise InputError(f"no image in {directory}; --exclude names a prepared dataset or a folder of images")
        for _ in watch((evaluation.add(*one) for one in images), total):
            pass
    return evaluation


def _excluded(directory: Path) -> tuple[Iterator[tuple[str, str, list[int]]], int]:
    """(name, hash of the pixels, perceptual hashes) of every image of an evaluation set; and how many there are."""
    if is_prepared(directory):
        source = PreparedSource(directory, cache_bytes=0)
        rows = ((source.keys[i], bytes(source.sha256[i]).hex(), source[i].image) for i in range(len(source)))
        return ((f"{key} in {directory}", sha, all_orientations(image)) for key, sha, image in rows), len(source)
    paths = [p for p in sorted(directory.rglob("*")) if is_image(p.name) and MASKS not in p.parts and p.is_file()]
    images = ((str(path), read_image(path)) for path in paths)
    return ((name, pixel_hash(image), all_orientations(image)) for name, image in images), len(paths)


def _collected(workdir: Path) -> Iterator[tuple[str, str, str]]:
    """(path below the work folder, category, address) of every collected image, in order of category and name."""
    tree = Tree(workdir / files.COLLECTED)
    for category in tree.folders():
        listed = files.read_lines(workdir / files.COLLECTED / category / files.SOURCES_FILE, "collect")
        for line in sorted(listed, key=lambda line: line["file"]):
            yield f"{files.COLLECTED}/{category}/{line['file']}", category, line["url"]


def _fault(one: Fingerprint, limits: Limits, evaluation: Evaluation) -> str:
    """What is wrong with an image alone, or ""."""
    if one.fault:
        return one.fault
    if min(one.height, one.width) < limits.least_side:
        return f"only {one.width} x {one.height} pixels; {limits.least_side} a side are the least"
    if name := evaluation.pixels.get(one.sha256):
        return f"the pixels of an evaluation image: {name}"
    distance, name = evaluation.alike.nearest(one.phash)
    return f"looks like an evaluation image: {name} (distance {distance})" if distance <= EVALUATION_DISTANCE else ""


def _repeats(one: Fingerprint, limits: Limits, pixels: dict[str, str], alike: Alike) -> str:
    """Which image before it an image repeats, or ""."""
    if first := pixels.get(one.sha256):
        return f"the pixels of {first}"
    distance, name = alike.nearest(one.phash)
    return f"a near-duplicate of {name} (distance {distance})" if distance <= limits.distance else ""
