"""Where photographs come from. `open_source` turns the name in a configuration or on a command line into a `Source`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadgpt_jax.data.images import MASK_RESIZE
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError, printable, refuse_bucket

PROCEDURAL = "procedural"
PROCEDURAL_SPLITS = ("train", "held_out")
# What procedural:held_out holds unless told otherwise: good ones enough for references and queries of their own.
HELD_OUT = {"categories": 32, "normal": 20, "defective": 12}
SPECIFICATIONS = "procedural:held_out, a folder that tools/prepare_data.py wrote, or one in MVTec layout"


NOTED = 12  # lines of a source's notes that are printed


def notes_of(source: Source) -> Iterator[str]:
    """What the folders of a source that is read in place were taken for, a printable line each; of many the first."""
    notes = getattr(source, "notes", ())
    yield from (f"{source.name}: {printable(note)}" for note in notes[:NOTED])
    if len(notes) > NOTED:
        yield f"{source.name}: and {len(notes) - NOTED} more folders"


def open_source(
    spec: str, *, side: int | None, seed: int = 0, split: str | None = None, procedural_categories: int | None = None,
    mask_resize: str = "max_pool", reduced: bool = False,
) -> Source:  # fmt: skip
    """The source a specification names.

    Args:
      spec: "procedural" or "procedural:held_out"; or the path of a prepared dataset or of a folder in MVTec layout.
      side: images and masks come as side x side pixels; None keeps a file's size, and 112 of procedural products.
      seed: of the procedural products.
      procedural_categories: how many procedural products; None: 800, and of held-out ones what HELD_OUT says.
      split: only this one: "train" or "test" of a folder, "train" or "held_out" of the procedural products.
      mask_resize: how masks of files come to the image's size (data/images.resize_mask): "max_pool" for training,
        "nearest" for metrics. Procedural products are drawn at their size.
      reduced: JPEGs much larger than the side are read at a half, a quarter or an eighth of their size: for training,
        not for metrics, for pixels differ by a grey level or two.

    Raises InputError where there is nothing to open.
    """
    if mask_resize not in MASK_RESIZE:
        raise InputError(f"mask_resize is {mask_resize!r}; choose {' or '.join(MASK_RESIZE)}")
    kind, _, suffix = spec.partition(":")
    if kind == PROCEDURAL:
        chosen = suffix or split or "train"
        if chosen not in PROCEDURAL_SPLITS or (suffix and split not in (None, suffix)):
            raise InputError(f"no split {split or chosen} of {spec}; choose procedural or procedural:held_out")
        from iadgpt_jax.data.sources.procedural import ProceduralSource

        sizes = dict(HELD_OUT) if chosen == "held_out" else {}
        asked = {"side": side, "categories": procedural_categories}
        return ProceduralSource(seed, chosen, **(sizes | {key: value for key, value in asked.items() if value}))

    from iadgpt_jax.data.sources.folder import FolderSource
    from iadgpt_jax.data.sources.prepared import INFO_FILE, PreparedSource, is_prepared
    from iadgpt_jax.data.sources.readers.mvtec_layout import LAYOUT

    refuse_bucket(spec)
    path = Path(spec)
    if not path.is_dir():
        raise InputError(
            f"no such dataset: {spec}; name procedural, procedural:held_out, a folder that tools/prepare_data.py "
            f"wrote, or one with {LAYOUT}"
        )
    if is_prepared(path):
        return PreparedSource(path, side=side, split=split, mask_resize=mask_resize, reduced=reduced)
    if (path / INFO_FILE).is_file():
        raise InputError(
            f"{spec} is a TFDS dataset that tools/prepare_data.py did not write; prepare it from its images"
        )
    return FolderSource(path, side=side, split=split, mask_resize=mask_resize, reduced=reduced)
