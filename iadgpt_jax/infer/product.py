"""A product: photographs of good examples, the threshold chosen with them, and the settings it was chosen under.

    product = make_product("screws", references, inspector, checkpoint_name(opened))
    inspections = inspector.inspections(parts, product.references)
    product.threshold.rejects(inspection.margin)

Who inspects parts needs nothing else but the checkpoint. infer/product_file.py keeps products on disk.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from iadgpt_jax.checkpoint.identity import checkpoint_identity
from iadgpt_jax.data.detection_prompt import NORMALITY, DetectionPrompt
from iadgpt_jax.data.images import MAX_PIXELS
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.image_input import ImageInput, as_photograph
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.threshold import SHARE, Threshold, check_share, choose_threshold

if TYPE_CHECKING:  # it loads JAX, which checking a name need not
    from iadgpt_jax.checkpoint.load import Opened

MOST_REFERENCES = 16
MOST_TILES = 8  # in a row or a column
MOST_PIXELS = MAX_PIXELS  # of all references together
NAME = re.compile(r"\w[\w .+-]{0,63}")
CALM = 2.0  # the hottest colour is at least this many times as far from cold as the maps of good parts reach


class Inspects(Protocol):
    """What of an `Inspector` is needed here."""

    ratio: float
    side: int
    unit: int
    tiles: tuple[int, int]
    prompt: DetectionPrompt

    def inspections(self, queries, references=(), *, explain: bool = True) -> Iterator[Inspection]: ...


@dataclass(frozen=True, eq=False)  # arrays do not compare
class Product:
    """name: a letter or digit and at most 63 more of those, space, dot, plus and minus; also the name of its folder.
    references: uint8[H, W, 3] each. calm: (middle, highest) value of the maps of good parts, from which the colours of
    its pictures are scaled. ratio, side: of the Inspector. checkpoint: `checkpoint_identity` of the model. tiles:
    (rows, columns) that photographs are cut into. prompt: the question that was asked; another one's margins differ.

    Raises:
      InputError: the name is none, there are no references or too many, or its tiles are too large.
    """

    name: str
    references: tuple[np.ndarray, ...]
    threshold: Threshold
    calm: tuple[float, float]
    ratio: float
    side: int
    checkpoint: str
    tiles: tuple[int, int] = (1, 1)
    prompt: DetectionPrompt = NORMALITY

    def __post_init__(self):
        check_name(self.name)
        check_references(self.name, self.references)
        check_canvas(self.side, self.tiles)

    def check_made_with(self, checkpoint: str, prompt: DetectionPrompt) -> None:
        """Raise InputError where the model at hand, or the question it is asked, is another than the one the threshold
        was chosen with."""
        if self.checkpoint != checkpoint:
            raise InputError(
                f"product {self.name!r} was made with checkpoint {self.checkpoint}, this is {checkpoint}: margins of "
                "two models do not compare; give the one it was made with (a copy in a bucket counts as another), or "
                "make the product anew"
            )
        if self.prompt != prompt:
            raise InputError(
                f"product {self.name!r} was made with the detection prompt {self.prompt.name[:40]!r} "
                f"({self.prompt.question[:200]!r}), this is {prompt.name!r} ({prompt.question!r}): margins of two "
                "prompts do not compare; give the one it was made with (iadgpt predict --prompt), or make the product "
                "anew"
            )

    def with_share(self, share: float) -> Product:
        """This product with the threshold for another share of good parts, from the margins that were measured. Raises
        InputError where none were."""
        if not self.threshold.good:
            raise InputError(
                f"no good part was measured for product {self.name!r}, so no threshold can be chosen; make it of two "
                "good examples or more"
            )
        return dataclasses.replace(self, threshold=choose_threshold(self.threshold.good, share))

    def scale(self, maps: Sequence[np.ndarray]) -> tuple[float, float]:
        """(cold, hottest) values for the colours of these maps: see `map_scale`."""
        return map_scale(self.calm, maps)


def check_name(name: str) -> None:
    """Raise InputError for what cannot be a product's name: it is a folder's name and stands in addresses."""
    if not NAME.fullmatch(name) or name != name.strip() or name.endswith("."):
        raise InputError(
            f"{name[:80]!r} cannot be a product's name; choose at most 64 letters, digits, spaces, dots, plus or minus "
            "signs, the first a letter or a digit"
        )


def check_canvas(side: int, tiles: tuple[int, int]) -> None:
    """Raise InputError where a photograph squashed to so many tiles would be larger than any that is read."""
    pixels = tiles[0] * tiles[1] * side**2
    if pixels > MAX_PIXELS:
        raise InputError(
            f"side {side} in {tiles[0]}x{tiles[1]} tiles makes {pixels:,} pixels of every photograph, at most "
            f"{MAX_PIXELS:,} can be; choose a smaller side or fewer tiles"
        )


def check_references(name: str, references: Sequence[np.ndarray]) -> None:
    """Raise InputError for no references uint8[H, W, 3], too many, or too many pixels."""
    if not 1 <= len(references) <= MOST_REFERENCES:
        raise InputError(
            f"product {name!r} has {len(references)} references; give 1 to {MOST_REFERENCES} photographs of good parts"
        )
    check_pixels(name, sum(reference.shape[0] * reference.shape[1] for reference in references))


def check_pixels(name: str, pixels: int) -> None:
    """Raise InputError where the references of a product have too many pixels together."""
    if pixels > MOST_PIXELS:
        raise InputError(
            f"the references of product {name!r} have {pixels:,} pixels together, at most {MOST_PIXELS:,} are kept; "
            "reduce them: they are squashed to the model's square anyway"
        )


def checkpoint_name(opened: Opened, step: int | None = None) -> str:
    """What `Product.checkpoint` says of an opened checkpoint. step: the one that was loaded, `Inspector.step`; it is an
    earlier one than the newest where that is damaged."""
    return checkpoint_identity(opened.directory, opened.step if step is None else step)


def map_scale(calm: tuple[float, float], maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """(cold, hottest) of the colours of maps of one product. calm: (middle, highest) of the maps of good parts. Neither
    they nor a part as calm as they are may look hot: a scale of each picture's own would make every good part glow."""
    low, high = calm
    return low, max([low + CALM * (high - low), *(float(map_.max()) for map_ in maps)])


def make_product(
    name: str, references: Sequence[ImageInput], inspector: Inspects, checkpoint: str,
    further: Sequence[ImageInput] = (), share: float | None = SHARE,
) -> Product:  # fmt: skip
    """A product with the threshold that the share `share` of good parts stays below.

    further: photographs of good parts that are measured, not kept; the more, the finer a share they can vouch for.
    Raises InputError in one line for whatever cannot be used.
    """
    making = make_in_steps(name, references, inspector, checkpoint, further, share)
    while True:
        try:
            next(making)
        except StopIteration as made:
            return made.value


def make_in_steps(
    name: str, references: Sequence[ImageInput], inspector: Inspects, checkpoint: str,
    further: Sequence[ImageInput] = (), share: float | None = SHARE,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """As `make_product`, which is this generator's return value; yields (done, all) inspections after each of them, so
    that a server may do other work in between.

    share None measures nothing, so that the likelier answer decides, and is faster.

    Leave-one-out: each reference is inspected against the others, each further good part against all references. A
    single reference has no others and measures nothing.
    """
    check_name(name)
    if share is not None:
        check_share(share)
    pictures = tuple(as_photograph(reference, inspector.unit) for reference in references)
    check_references(name, pictures)
    left_out = len(pictures) if len(pictures) > 1 and share is not None else 0
    total = left_out + len(further) + len(pictures)
    done, margins, maps = 0, [], []
    for index in range(left_out):
        others = pictures[:index] + pictures[index + 1 :]
        margins += [one.margin for one in inspector.inspections([pictures[index]], others, explain=False)]
        done += 1
        yield done, total
    # Maps are taken against all references: attention spreads over them, so that fewer would show hotter maps.
    for number, one in enumerate(inspector.inspections([*further, *pictures], pictures, explain=False)):
        if number < len(further):
            margins.append(one.margin)
        maps.append(one.map)
        done += 1
        yield done, total
    values = np.concatenate([map_.ravel() for map_ in maps])
    calm = float(np.median(values)), float(values.max())
    if not np.isfinite([*margins, *calm]).all():
        raise InputError(f"the model gives no numbers for the good parts of product {name!r}: is its checkpoint whole?")
    threshold = Threshold() if share is None else choose_threshold(margins, share)
    return Product(name, pictures, threshold, calm, inspector.ratio, inspector.side, checkpoint, inspector.tiles,
                   inspector.prompt)  # fmt: skip
