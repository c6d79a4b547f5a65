"""The whole pipeline for tests: products to collect, the four commands, and what came out."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tools import build_corpus

KEY = "sk-this-must-never-be-seen"
SIDE = 64


def picture(path: Path, seed: int, side: int = SIDE) -> np.ndarray:
    """A picture of smooth blobs that looks like no other seed's; returns uint8[side, side, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    image.save(path)
    return np.asarray(image)


def draw_products(root: Path) -> Path:
    """Seven good images of three categories to describe; and a broken one, a small one, the same pixels, the same at
    another size, and a defective one."""
    for number, name in enumerate(("hex_bolt/good/0.png", "hex_bolt/good/1.png", "hex_bolt/good/2.png",
                                   "spur_gear/good/0.png", "spur_gear/good/1.png", "tea_bag/good/0.png",
                                   "tea_bag/good/1.png")):  # fmt: skip
        picture(root / name, number)
    shutil.copy(root / "hex_bolt/good/0.png", root / "hex_bolt/good/9.png")
    Image.open(root / "hex_bolt/good/1.png").resize((90, 90)).save(root / "spur_gear/good/resized.jpg")
    (root / "tea_bag/good/broken.png").write_text("not an image")
    picture(root / "tea_bag/good/small.png", 50, side=20)
    picture(root / "tea_bag/torn/0.png", 51)
    return root


def collect(workdir: Path, products: Path) -> list[str]:
    return ["collect", f"--workdir={workdir}", f"--folder={products}"]


def clean(workdir: Path, *more: str) -> list[str]:
    return ["clean", f"--workdir={workdir}", "--least_side=32", *more]


def describe(workdir: Path, url: str, *more: str) -> list[str]:
    return ["describe", f"--workdir={workdir}", "--model=toy", f"--endpoint={url}", "--input_price=1",
            "--output_price=4", "--max_cost=10", "--timeout=0.3", "--first_wait=0.02", "--concurrency=3",
            *more]  # fmt: skip


def publish(workdir: Path) -> list[str]:
    return ["publish", f"--workdir={workdir}", "--processes=1"]


def steps(workdir: Path, products: Path, url: str) -> list[list[str]]:
    return [collect(workdir, products), clean(workdir), describe(workdir, url), publish(workdir)]


def run(*commands: list[str]) -> None:
    for command in commands:
        build_corpus.main(command)


def contents(directory: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
