"""Write small made datasets in the layouts that the published ones have: to try every command without a download.

    python tools/made_datasets.py --out=workdir/made
    python tools/prepare_data.py --dataset=real_iad --source=workdir/made/real_iad --out=workdir/prepared/real_iad

Photographs are those of procedural products, enlarged to what a camera gives. Beside each tree lies a words.jsonl with
three descriptions of every product, of the length that people write, and causes and remedies of defects.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.procedural import Factory
from iadgpt_jax.procedural.factory import Piece
from iadgpt_jax.progress import progress

RENDERED = 224  # pixels that a product is drawn with, before it is enlarged
DESCRIBED = 60  # words of a description, about
FILLERS = (
    "The part lies flat on a plain background and fills most of the frame.",
    "Its outline is closed and its edges run parallel to the sides of the picture.",
    "Light falls on it from above, so that raised features throw a short shadow to one side.",
    "Small features repeat at regular distances, and each of them has the same size and direction.",
    "Nothing on it is loose, and no feature covers another.",
    "The tone is even over large areas and changes only where two materials meet.",
    "Fine marks from machining are visible when one looks closely, all of them in the same direction.",
    "It was made in one piece, and the seams that remain are straight and tight.",
)


@dataclass(frozen=True)
class Product:
    """Photographs of one product."""

    name: str
    good: Sequence[Piece]
    bad: Sequence[Piece]

    @property
    def captions(self) -> tuple[str, str, str]:
        return self.good[0].captions


class Camera:
    """Writes photographs of `side` × 3/4 `side` pixels; a file's format follows from its suffix."""

    def __init__(self, side: int):
        self.size = (side, side * 3 // 4)

    def image(self, path: Path, piece: Piece) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        enlarged = cv2.resize(piece.image, self.size, interpolation=cv2.INTER_CUBIC)
        _write(path, enlarged[..., ::-1])

    def mask(self, path: Path, piece: Piece, value: int = 255) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, cv2.resize(piece.mask * np.uint8(value), self.size, interpolation=cv2.INTER_NEAREST))


def _write(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"cannot write {path}")


# ---- Layouts. Each yields what words.jsonl is made of: (beginning of keys, product, piece or None for all of them).
Told = Iterator[tuple[str, Product, Piece | None]]


def mvtec(root: Path, camera: Camera, products: Sequence[Product], suffix="png", good="good", kind="") -> Told:
    for product in products:
        yield product.name, product, None
        half = max(len(product.good) // 2, 1)
        for number, piece in enumerate(product.good):
            camera.image(
                root / product.name / ("train" if number < half else "test") / good / _name(number, suffix), piece
            )
        for number, piece in enumerate(product.bad):
            what = kind or piece.defect.kind.replace(" ", "_")
            path = f"{product.name}/test/{what}/{_name(number, suffix)}"
            camera.image(root / path, piece)
            ending = "" if kind else "_mask"
            camera.mask(root / product.name / "ground_truth" / what / f"{number:03d}{ending}.png", piece)
            yield path, product, piece


def btad(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    numbered = [Product(f"{number:02d}", one.good, one.bad) for number, one in enumerate(products, 1)]
    yield from mvtec(root, camera, numbered, suffix="bmp", good="ok", kind="ko")


def loco(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    for product in products:
        yield product.name, product, None
        for number, piece in enumerate(product.good):
            split = ("train", "validation", "test")[min(number * 3 // len(product.good), 2)]
            camera.image(root / product.name / split / "good" / _name(number), piece)
        for number, piece in enumerate(product.bad):
            kind = ("logical_anomalies", "structural_anomalies")[number % 2]
            path = f"{product.name}/test/{kind}/{_name(number)}"
            camera.image(root / path, piece)
            camera.mask(root / product.name / "ground_truth" / kind / f"{number:03d}/000.png", piece, 250)
            yield path, product, piece


def real_iad(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    (root / "realiad_jsons").mkdir(parents=True, exist_ok=True)
    for product in products:
        yield product.name, product, None
        splits: dict[str, list[dict]] = {"train": [], "test": []}
        for number, piece in enumerate([*product.good, *product.bad]):
            for view in ("C1", "C2"):
                code = "NG" if piece.defective else "OK"
                folder = f"{code}/QS" if piece.defective else code
                path = f"{folder}/S{number:04d}/{product.name}_{number:04d}_{code}_{view}.jpg"
                camera.image(root / "realiad_1024" / product.name / path, piece)
                own = path.replace(".jpg", ".png") if piece.defective else None
                if own:
                    camera.mask(root / "realiad_1024" / product.name / own, piece)
                    yield f"{product.name}/{path}", product, piece
                split = "train" if number < len(product.good) // 2 else "test"
                splits[split].append(
                    {
                        "category": product.name,
                        "anomaly_class": "QS" if own else "OK",
                        "image_path": path,
                        "mask_path": own,
                    }
                )
        index = {"meta": {"prefix": f"{product.name}/", "normal_class": "OK"}, **splits}
        (root / "realiad_jsons" / f"{product.name}.json").write_text(json.dumps(index))


def dagm(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    for place, product in enumerate(products, 1):
        yield f"Class{place}", product, None
        for number, piece in enumerate([*product.good, *product.bad]):
            folder = f"Class{place}/{'Train' if number % 2 else 'Test'}"
            camera.image(root / folder / f"{number:04d}.PNG", piece)
            if piece.defective:
                camera.mask(root / folder / "Label" / f"{number:04d}_label.PNG", piece)
                yield f"{folder}/{number:04d}.PNG", product, piece


def eyecandies(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    for product in products:
        yield product.name, product, None
        half = max(len(product.good) // 2, 1)
        for number, piece in enumerate([*product.good, *product.bad]):
            base = f"{product.name}/{'train' if number < half else 'test_public'}/data/{number:02d}"
            camera.image(root / f"{base}_image_5.png", piece)
            camera.mask(root / f"{base}_mask.png", piece)
            (root / f"{base}_metadata.yaml").write_text(f"anomalous: {int(piece.defective)}\n")
            if piece.defective:
                yield f"{base}_image_5.png", product, piece


def kolektor_sdd(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    for place, product in enumerate(products[:1], 1):  # all are surfaces of one product
        for number, piece in enumerate([*product.good, *product.bad]):
            path = f"kos{place:02d}/Part{number}"
            camera.image(root / f"{path}.jpg", piece)
            camera.mask(root / f"{path}_label.bmp", piece)
            yield f"{path}.jpg", product, piece


def kolektor_sdd2(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    for product in products[:1]:
        for number, piece in enumerate([*product.good, *product.bad]):
            path = f"{'train' if number % 2 else 'test'}/{10000 + number}"
            camera.image(root / f"{path}.png", piece)
            camera.mask(root / f"{path}_GT.png", piece)
            yield f"{path}.png", product, piece


def visa(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    rows = ["object,split,label,image,mask"]
    for product in products:
        yield product.name, product, None
        half = max(len(product.good) // 2, 1)
        for number, piece in enumerate(product.good):
            path = f"{product.name}/Data/Images/Normal/{number:04d}.JPG"
            camera.image(root / path, piece)
            rows.append(f"{product.name},{'train' if number < half else 'test'},normal,{path},")
        for number, piece in enumerate(product.bad):
            path = f"{product.name}/Data/Images/Anomaly/{number:03d}.JPG"
            own = f"{product.name}/Data/Masks/Anomaly/{number:03d}.png"
            camera.image(root / path, piece)
            camera.mask(root / own, piece, 1)
            rows.append(f"{product.name},test,anomaly,{path},{own}")
            yield path, product, piece
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")


def anomaly_instruct(root: Path, camera: Camera, products: Sequence[Product]) -> Told:
    items = []
    for product in products:
        half = max(len(product.good) // 2, 1)
        for number, piece in enumerate([*product.good, *product.bad]):
            kind = piece.defect.kind.replace(" ", "_") if piece.defect else "good"
            path = f"{product.name}/{'train' if number < half else 'test'}/{kind}/{_name(number)}"
            camera.image(root / path, piece)
            items.append({"image": path, "conversations": _conversation(product, piece)})
    (root / "instruct.json").write_text(json.dumps(items))
    yield from ()


def _conversation(product: Product, piece: Piece) -> list[dict[str, str]]:
    if piece.defect is None:
        said = [f"No. {product.captions[0]}", "Nothing has to be done."]
    else:
        said = [
            f"Yes, there is a {piece.defect.kind}. It may come from {piece.defect.cause}.",
            f"{piece.defect.remedy}.",
        ]
    asked = ["<image>\nAre there any defects for the object in the image?", "What should be done about it?"]
    pairs = zip(asked, said, strict=True)
    return [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]


def _name(number: int, suffix: str = "png") -> str:
    return f"{number:03d}.{suffix}"


Layout = Callable[[Path, Camera, Sequence[Product]], Told]
LAYOUTS: dict[str, Layout] = {
    "real_iad": real_iad, "btad": btad, "dagm": dagm, "eyecandies": eyecandies, "kolektor_sdd": kolektor_sdd,
    "kolektor_sdd2": kolektor_sdd2, "miad": mvtec, "mpdd": mvtec, "mvtec_loco": loco, "folder": mvtec,
    "anomaly_instruct": anomaly_instruct, "mvtec_ad": mvtec, "visa": visa,
}  # fmt: skip


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    names = args.datasets.split(",") if args.datasets else list(LAYOUTS)
    if unknown := sorted(set(names) - set(LAYOUTS)):
        raise InputError(f"--datasets={','.join(unknown)}: choose among {', '.join(LAYOUTS)}")
    if args.categories < 1 or args.photographs < 4 or args.side < 64:
        raise InputError(
            f"--categories={args.categories} --photographs={args.photographs} --side={args.side}: choose at least one "
            "category, 4 good and 4 defective photographs of it, and 64 pixels"
        )
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(f"{args.out} exists and is not an empty folder; remove it or choose another --out")
    factory = Factory(args.seed, "train", args.categories * len(names), args.photographs, args.photographs, RENDERED)
    factory.prepare(args.processes, _report)
    for place, name in enumerate(progress(names, len(names), "writing", "datasets")):
        products = [_product(factory, place * args.categories + number) for number in range(args.categories)]
        root = args.out / name
        root.mkdir(parents=True)
        lines = [_words(*told, seed=args.seed) for told in LAYOUTS[name](root, Camera(args.side), products)]
        if lines:
            (root / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"wrote {', '.join(names)} to {args.out}; next: python tools/prepare_data.py --dataset=NAME "
          f"--source={args.out}/NAME --out=DIR")  # fmt: skip


def _product(factory: Factory, category: int) -> Product:
    pieces = [factory[category * factory.per_category + number] for number in range(factory.per_category)]
    return Product(pieces[0].category, pieces[: factory.normal], pieces[factory.normal :])


def _words(key: str, product: Product, piece: Piece | None, seed: int) -> dict:
    """The line of words.jsonl about a product or one of its photographs."""
    line: dict = {"key": key}
    if piece is None or "/" not in key or key.startswith(("kos", "train/", "test/")):
        rng = np.random.default_rng([seed, *key.encode()])
        line["captions"] = [_long(caption, rng) for caption in product.captions]
    if piece is not None and piece.defect is not None:
        line |= {"kind": piece.defect.kind, "cause": piece.defect.cause, "remedy": piece.defect.remedy}
    return line


def _long(caption: str, rng: np.random.Generator) -> str:
    """A description of half to one and a half times DESCRIBED words that begins with the caption."""
    texts, wanted = [caption], DESCRIBED * rng.uniform(0.5, 1.5)
    for filler in rng.permutation(np.array(FILLERS)):
        if len(" ".join(texts).split()) >= wanted:
            break
        texts.append(str(filler))
    return " ".join(texts)


def _report(done: int, total: int) -> None:
    if done == total or done % 10 == 0:
        print(f"drawing products: {done} of {total}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder for one tree per dataset")
    add("--datasets", default="", metavar="A,B", help=f"only these of {', '.join(LAYOUTS)} (default: all)")
    add("--categories", type=int, default=4, help="products of each dataset (default: %(default)s)")
    add("--photographs", type=int, default=8, help="good ones of each product, and as many defective (default: 8)")
    add("--side", type=int, default=1024, help="width of a photograph in pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the products (default: %(default)s)")
    add("--processes", type=int, default=2, help="that draw (default: %(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
