"""Turn a folder of photographs into a dataset that training and evaluation read at random: TFDS with ArrayRecord files.

    python tools/prepare_data.py --dataset=folder --source=DIR --out=DIR

--dataset=folder reads the layout of MVTec-AD:

    DIR/<category>/train/good/*.png           good parts, to learn and to refer to
    DIR/<category>/test/good/*.png            good parts, to inspect
    DIR/<category>/test/<defect>/*.png        defective parts; the folder's name says what is wrong
    DIR/<category>/ground_truth/<defect>/*_mask.png     where: white, same size as the image; may be missing

png, jpg, bmp, tif and webp are read. Afterwards --out works wherever a command asks for a dataset.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.data.images import encode_png, pixel_hash, read_bytes, stores_pixels_plainly
from iadgpt_jax.data.sources.folder import Photograph, load_sample, scan_folder, squash
from iadgpt_jax.data.sources.prepared import write_prepared
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.progress import progress

# Dataset name to the function that lists its photographs: (source, categories or None) -> photographs.
READERS: dict[str, Callable[[Path, Sequence[str] | None], list[Photograph]]] = {"folder": scan_folder}


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    if flags.out.exists():
        raise InputError(f"{flags.out} exists already; remove it or choose another --out")
    if flags.side and flags.side < 28:
        raise InputError(
            f"--side={flags.side} is smaller than one merged token (28 pixels); choose 448, or 0 for no change"
        )

    photographs = READERS[flags.dataset](flags.source, flags.categories)
    describe(photographs, flags.source)

    start = time.monotonic()
    aside = flags.out.with_name(f".{flags.out.name}.unfinished-{os.getpid()}")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {flags.out}: {error.strerror}; choose another --out") from error
    try:
        examples = (encode(photograph, flags.side) for photograph in photographs)
        write_prepared(aside, flags.dataset, progress(examples, len(photographs), "preparing", "images"))
        aside.rename(flags.out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    size = sum(path.stat().st_size for path in flags.out.iterdir())
    print(f"wrote {flags.out}: {len(photographs)} images, {size / 1e6:.1f} MB, {time.monotonic() - start:.1f} s")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, choices=sorted(READERS), help="the layout of --source")
    parser.add_argument("--source", required=True, type=Path, metavar="DIR", help="where the photographs are")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the dataset goes; must not exist")
    parser.add_argument(
        "--side",
        type=int,
        default=448,
        metavar="PIXELS",
        help="squash images and masks to this square, 672 or 896 for small defects; 0 keeps each size (default: 448)",
    )
    parser.add_argument(
        "--categories",
        metavar="A,B",
        type=lambda names: [name for name in names.split(",") if name],
        help="only these (default: all)",
    )
    return parser.parse_args(arguments)


def describe(photographs: Sequence[Photograph], source: Path) -> None:
    """Say what was found, and warn of defective photographs without a mask."""
    categories = sorted({photograph.category for photograph in photographs})
    print(f"found {len(photographs)} images of {len(categories)} categories in {source}")
    for category in categories:
        counts = Counter((p.split, p.defect or "good") for p in photographs if p.category == category)
        print(f"  {category}: " + ", ".join(f"{split} {kind} {count}" for (split, kind), count in counts.items()))
    unmasked = [photograph for photograph in photographs if photograph.defect is not None and photograph.mask is None]
    if unmasked:
        print(
            f"warning: {len(unmasked)} defective images have no mask, e.g. {unmasked[0].image}; they count for image "
            "metrics only",
            file=sys.stderr,
        )


def encode(photograph: Photograph, side: int) -> dict[str, Any]:
    """One example for `write_prepared`. Files that need no change travel as they are, all others as lossless PNG."""
    original = load_sample(photograph)
    sample = squash(original, side or None)
    data = read_bytes(photograph.image)
    unchanged = sample.image is original.image and stores_pixels_plainly(data, str(photograph.image))
    return {
        "image": data if unchanged else encode_png(sample.image),
        "mask": None if sample.mask is None else encode_png(sample.mask * 255),
        "key": photograph.key,
        "category": photograph.category,
        "split": photograph.split,
        "defect": photograph.defect,
        "sha256": pixel_hash(original.image),  # before resizing: the same photograph at another side is still the same
    }


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)  # a polite kill cleans up, too
    main()
