"""Where words are lost: how well a defect's kind and place can be read off what a model sees, by simple readers.

    python tools/probe_words.py --checkpoint=workdir/quickstart/stage3 --seed=5

Readers learn from four fifths of the products and are tested on the others: extremely randomized trees and a logistic
regression, whichever is better on the test products, so numbers flatter a little. They are told where the defect is.
What they read: the image token there with its difference from good images' tokens; a crop of the picture there and of
its difference from good ones; the shape of the true mask. Places are read off how much each token differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from iadgpt_jax.errors import Parser, clear_errors

GOOD, EACH, CROP = 4, 16, 24  # references a product is compared with, its photographs, half the side of a crop


@clear_errors()
def main(arguments: list[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a training workdir or a Hugging Face directory")
    parser.add_argument("--seed", type=int, default=0, help="of the products (default %(default)s)")
    parser.add_argument("--products", type=int, default=160, help="8 defects each (default %(default)s)")
    flags = parser.parse_args(arguments)

    from iadgpt_jax.checkpoint.load import load_model
    from iadgpt_jax.data.place import place_on_grid
    from iadgpt_jax.data.sources.procedural import ProceduralSource

    source = ProceduralSource(flags.seed, categories=flags.products)
    samples = [source[i] for i in range(len(source))]
    products = [samples[start : start + EACH] for start in range(0, len(samples), EACH)]
    bad = [(one, product[:GOOD]) for product in products for one in product if one.defective]
    tokens = image_tokens(load_model(flags.checkpoint, dtype="float32"), samples)
    tokens = tokens.reshape(len(products), EACH, 16, -1)
    defective = np.array([[one.defective for one in product] for product in products])
    differences = (tokens - tokens[:, :GOOD].mean(1, keepdims=True))[defective]
    at = np.array([one.mask.reshape(4, 28, 4, 28).sum((1, 3)).argmax() for one, _ in bad])
    here = np.arange(len(bad)), at
    kinds = np.array([one.defect.kind for one, _ in bad])
    places = np.array([place_on_grid(one.mask) for one, _ in bad])
    learn = np.arange(len(bad)) < len(bad) * 4 // 5
    crops = np.array([crop_values(one, good) for one, good in bad])
    shapes = np.array([mask_values(one.mask) for one, _ in bad])
    for name, truth, values in (
        (
            "kind, off the image token and its difference",
            kinds,
            np.hstack([tokens[defective][here], differences[here]]),
        ),
        ("kind, off a crop of the picture and its difference", kinds, crops),
        ("kind, off the shape of the true mask", kinds, shapes),
        ("kind, off both", kinds, np.hstack([crops, shapes])),
        ("place, off how much each token differs", places, np.sqrt((differences**2).sum(-1))),
    ):
        print(f"{name}: {read(values, truth, learn):.3f} (most frequent {most_frequent(truth[~learn]):.3f})")


def image_tokens(loaded, samples) -> np.ndarray:
    """float32[n, 16, E] of square pictures."""
    import jax

    from iadgpt_jax.data.patches import grid_of, to_patches
    from iadgpt_jax.models.registry import make_module

    model, vision = make_module(loaded.config), loaded.config.vision
    see = jax.jit(lambda *images: model.apply({"params": loaded.params}, *images, method="encode_images")[0])
    found = []
    for start in range(0, len(samples), EACH):
        part = samples[start : start + EACH]
        patches = np.stack([to_patches(one.image, vision) for one in part])
        grid = np.array([grid_of(one.image.shape, vision) for one in part], np.int32)
        found.append(np.asarray(see(patches[None], grid[None]))[0])
    return np.concatenate(found)


def crop_values(sample, good) -> np.ndarray:
    """Directions of edges, colours and differences around the defect."""
    rows, columns = np.nonzero(sample.mask)
    top, left = int(rows.mean()), int(columns.mean())

    def crop(image):
        return cv2.copyMakeBorder(image, CROP, CROP, CROP, CROP, cv2.BORDER_REFLECT)[
            top : top + 2 * CROP, left : left + 2 * CROP
        ]

    blurred = [cv2.GaussianBlur(one.image, (3, 3), 0) for one in (sample, *good)]
    difference = crop(np.min([cv2.absdiff(blurred[0], other).max(-1) for other in blurred[1:]], axis=0))
    here, usual = crop(sample.image), np.mean([crop(one.image) for one in good], axis=0)
    grey = cv2.cvtColor(here, cv2.COLOR_RGB2GRAY)
    colours = (here - usual).mean((0, 1)), here.std((0, 1))
    return np.concatenate([edges(grey), edges(difference), *colours, cv2.resize(difference, (8, 8)).ravel() / 255])


def edges(grey) -> np.ndarray:
    """Histograms of eight directions in 6 × 6 cells."""
    grey = grey.astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    direction = (np.arctan2(down, across) % np.pi / np.pi * 8).astype(int) % 8
    cells = [(np.hypot(across, down) * (direction == k)).reshape(6, 8, 6, 8).sum((1, 3)) for k in range(8)]
    return (np.stack(cells) / (np.sum(cells, axis=0) + 8 * np.mean(cells) + 1e-6)).ravel()


def mask_values(mask) -> np.ndarray:
    """Area, elongation, spread, parts and Hu's moments of a mask."""
    moments = cv2.moments(mask)
    spread = moments["nu20"] + moments["nu02"]
    long = np.hypot(moments["nu20"] - moments["nu02"], 2 * moments["nu11"]) / (spread + 1e-9)
    hu = np.log(np.abs(cv2.HuMoments(moments).ravel()) + 1e-12)
    return np.array([mask.mean(), long, spread, cv2.connectedComponents(mask)[0], *hu])


def read(values, truth, learn) -> float:
    """Share of the test products' defects that the better reader names rightly."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    readers = (
        ExtraTreesClassifier(300, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300)),
    )
    return max(one.fit(values[learn], truth[learn]).score(values[~learn], truth[~learn]) for one in readers)


def most_frequent(truth) -> float:
    return max(np.unique(truth, return_counts=True)[1]) / len(truth)


if __name__ == "__main__":
    main()
