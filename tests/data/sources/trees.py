"""Small datasets in their published layouts, drawn for tests, and what a reader should say of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HIGH, WIDE = 12, 16


@dataclass(frozen=True)
class Told:
    """What a record should say: (category, split, kind of defect; None on good parts, "" where nobody said)."""

    category: str
    split: str
    kind: str | None
    masked: bool = True
    viewpoint: str = ""
    exchanges: int = 0


@dataclass(frozen=True)
class Drawn:
    """A tree: records by key; a good and a defective image and its mask, for damaging; where a stray image may lie."""

    records: dict[str, Told]
    good: str
    bad: str
    mask: str = ""
    key_of_bad: str = ""
    ignored: int = 0  # files that the reader counts as no part of the dataset, undamaged


def image(path: Path, seed: int = 0) -> None:
    """A picture that differs from every other seed's; its format follows from the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed + hash_of(path)).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path, value: int = 255, rows: slice = slice(2, 5), high: int = HIGH, wide: int = WIDE) -> None:
    """A mask with a block of `value`; value 0: all black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((high, wide), np.uint8)
    pixels[rows, 3:8] = value
    Image.fromarray(pixels).save(path)


def hash_of(path: Path) -> int:
    """A number that is the same for the same file wherever the tree lies."""
    return sum((i + 1) * byte for i, byte in enumerate("/".join(path.parts[-4:]).encode()))


def mvtec(root: Path, good: str = "good", kind: str = "bent_pin", suffix: str = "png", split: str = "train",
          categories: tuple[str, ...] = ("bolt", "nut")) -> dict[str, Told]:  # fmt: skip
    """Two categories in MVTec layout, 2 good ones to train, 1 good and 2 defective ones to test."""
    told = {}
    for category in categories:
        for number in range(2):
            image(root / f"{category}/{split}/{good}/{number:03d}.{suffix}")
            told[f"{category}/{split}/{good}/{number:03d}.{suffix}"] = Told(category, split, None)
        image(root / f"{category}/test/{good}/000.{suffix}")
        told[f"{category}/test/{good}/000.{suffix}"] = Told(category, "test", None)
        for number in range(2):
            image(root / f"{category}/test/{kind}/{number:03d}.{suffix}")
            mask(root / f"{category}/ground_truth/{kind}/{number:03d}_mask.png")
            told[f"{category}/test/{kind}/{number:03d}.{suffix}"] = Told(category, "test", kind.replace("_", " "))
    return told


def draw_mvtec(root: Path) -> Drawn:
    told = mvtec(root)
    bad = "nut/test/bent_pin/001.png"
    return Drawn(told, "nut/train/good/001.png", bad, "nut/ground_truth/bent_pin/001_mask.png", bad)


def draw_mvtec_loco(root: Path) -> Drawn:
    told = {}
    for split in ("train", "validation", "test"):
        for number in range(2):
            key = f"pushpins/{split}/good/{number:03d}.png"
            image(root / key)
            told[key] = Told("pushpins", split, None)
    for kind in ("logical_anomalies", "structural_anomalies"):
        for number in range(2):
            key = f"pushpins/test/{kind}/{number:03d}.png"
            image(root / key)
            for part in range(2):  # two defects, each with a grey value of its own
                mask(
                    root / f"pushpins/ground_truth/{kind}/{number:03d}/{part:03d}.png",
                    250 + part,
                    slice(part, part + 1),
                )
            told[key] = Told("pushpins", "test", kind.replace("_", " "))
    bad = "pushpins/test/logical_anomalies/001.png"
    return Drawn(told, "pushpins/train/good/000.png", bad, "pushpins/ground_truth/logical_anomalies/001/001.png", bad)


def draw_visa(root: Path) -> Drawn:
    told, rows, kinds = {}, ["object,split,label,image,mask"], ["image,label,mask"]
    for number, split in enumerate(("train", "train", "test")):
        key = f"candle/Data/Images/Normal/{number:04d}.JPG"
        image(root / key)
        rows.append(f"candle,{split},normal,{key},")
        kinds.append(f"{key},normal,")
        told[key] = Told("candle", split, None)
    for number in range(3):
        key, own = f"candle/Data/Images/Anomaly/{number:03d}.JPG", f"candle/Data/Masks/Anomaly/{number:03d}.png"
        image(root / key)
        mask(root / own, value=1 + number)  # class numbers, all but black to the eye
        rows.append(f"candle,test,anomaly,{key},{own}")
        if number < 2:
            kinds.append(f'{key},"wax melded out of the candle,damaged corner",{own}')
        kind = "wax melded out of the candle and damaged corner" if number < 2 else "defect"
        told[key] = Told("candle", "test", kind)
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")
    (root / "candle/image_anno.csv").write_text("\n".join(kinds) + "\n")
    bad = "candle/Data/Images/Anomaly/002.JPG"
    return Drawn(told, "candle/Data/Images/Normal/0001.JPG", bad, "candle/Data/Masks/Anomaly/002.png", bad)


def draw_real_iad(root: Path) -> Drawn:
    told, train, test = {}, [], []

    def item(path: str, code: str, own: str | None) -> dict:
        image(root / "realiad_512/usb" / path)
        image(root / "realiad_256/usb" / path)  # the same in a smaller size, which is not read
        if own:
            mask(root / "realiad_512/usb" / own)
        return {"category": "usb", "anomaly_class": code, "image_path": path, "mask_path": own}

    for camera in ("C1", "C2"):
        for number in range(2):
            path = f"OK/S{number:04d}/usb_{number:04d}_OK_{camera}_20231021.jpg"
            train.append(item(path, "OK", None))
            told[f"usb/{path}"] = Told("usb", "train", None, viewpoint=camera)
        path = f"NG/QS/S0009/usb_0009_NG_QS_{camera}_20231021.jpg"
        test.append(item(path, "QS", path.replace(".jpg", ".png")))
        told[f"usb/{path}"] = Told("usb", "test", "missing part", viewpoint=camera)
    path = "OK/S0010/usb_0010_OK_C1_20231021.jpg"
    test.append(item(path, "OK", None))
    told[f"usb/{path}"] = Told("usb", "test", None, viewpoint="C1")
    index = {"meta": {"prefix": "usb/", "normal_class": "OK"}, "train": train, "test": test}
    (root / "realiad_jsons").mkdir()
    (root / "realiad_jsons/usb.json").write_text(json.dumps(index))
    key = "NG/QS/S0009/usb_0009_NG_QS_C2_20231021.jpg"
    return Drawn(
        told,
        "realiad_512/usb/OK/S0001/usb_0001_OK_C1_20231021.jpg",
        f"realiad_512/usb/{key}",
        f"realiad_512/usb/{key}".replace(".jpg", ".png"),
        f"usb/{key}",
        ignored=7,
    )


def draw_btad(root: Path) -> Drawn:
    told = mvtec(root, "ok", "ko", "bmp", categories=("01", "02"))
    for path in (root / "02/ground_truth/ko").iterdir():
        path.rename(path.with_name(path.name.replace("_mask", "")))
    told = {key: Told(t.category, t.split, "defect" if t.kind else None) for key, t in told.items()}
    bad = "02/test/ko/001.bmp"
    return Drawn(told, "02/train/ok/001.bmp", bad, "02/ground_truth/ko/001.png", bad)


def draw_dagm(root: Path) -> Drawn:
    told = {}
    for category in ("Class1", "Class10", "Class2"):
        for split in ("Train", "Test"):
            for number in range(3):
                key = f"{category}/{split}/{number:04d}.PNG"
                image(root / key)
                if number == 2:
                    mask(root / f"{category}/{split}/Label/{number:04d}_label.PNG")
                told[key] = Told(category, split.lower(), "defect" if number == 2 else None)
    bad = "Class2/Test/0002.PNG"
    return Drawn(told, "Class2/Test/0001.PNG", bad, "Class2/Test/Label/0002_label.PNG", bad)


def draw_eyecandies(root: Path) -> Drawn:
    told, ignored = {}, 0
    for split, name in (("train", "train"), ("val", "validation"), ("test_public", "test"), ("test_private", "")):
        for number in range(2):
            base = root / f"Lollipop/{split}/data"
            for light in (0, 5):
                image(base / f"{number:02d}_image_{light}.png")
            mask(base / f"{number:02d}_depth.png")
            ignored += 2 if name else 3
            if not name:
                continue
            anomalous = split == "test_public" and number == 1
            (base / f"{number:02d}_metadata.yaml").write_text(f"anomalous: {int(anomalous)}\nbumps: 0\n")
            mask(base / f"{number:02d}_mask.png", 255 if anomalous else 0)
            ignored += not anomalous
            told[f"Lollipop/{split}/data/{number:02d}_image_5.png"] = Told(
                "Lollipop", name, "defect" if anomalous else None
            )
    bad = "Lollipop/test_public/data/01_image_5.png"
    return Drawn(told, "Lollipop/train/data/01_image_5.png", bad, "Lollipop/test_public/data/01_mask.png", bad, ignored)


def draw_kolektor_sdd(root: Path) -> Drawn:
    told = {}
    for part in ("kos01", "kos02"):
        for number in range(3):
            key = f"{part}/Part{number}.jpg"
            image(root / key)
            mask(root / f"{part}/Part{number}_label.bmp", 255 if number == 1 else 0)
            told[key] = Told("commutator", "train", "defect" if number == 1 else None)
    return Drawn(told, "kos02/Part0.jpg", "kos02/Part1.jpg", "kos02/Part1_label.bmp", "kos02/Part1.jpg")


def draw_kolektor_sdd2(root: Path) -> Drawn:
    told = {}
    for split in ("train", "test"):
        for number in range(3):
            key = f"{split}/{10000 + number}.png"
            image(root / key)
            mask(root / f"{split}/{10000 + number}_GT.png", 255 if number == 1 else 0)
            told[key] = Told("surface", split, "defect" if number == 1 else None)
    return Drawn(told, "test/10000.png", "test/10001.png", "test/10001_GT.png", "test/10001.png")


def draw_anomaly_instruct(root: Path) -> Drawn:
    told, items, web = {}, [], []
    for number, path in enumerate(("bottle/train/good/000.png", "bottle/test/broken_large/000.png")):
        image(root / "mvtec" / path)
        turns = [
            {"from": "human", "value": "<image>\nIs anything wrong?"},
            {"from": "gpt", "value": "No."},
            {"from": "human", "value": "Are you sure?"},
            {"from": "gpt", "value": "Yes."},
        ]
        items.append({"id": str(number), "image": path, "conversations": turns})
        kind = "broken large" if number else None
        told[f"mvtec/{path}#bottle_zero_shot-{number}"] = Told(
            "bottle", "test" if number else "train", kind, not kind, exchanges=2
        )
    for number in range(2):
        views = [f"web/phone/{number}_{view}.jpg" for view in range(1 + number)]
        for view in views:
            image(root / view)
        turns = [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": "A phone."}]
        web.append({"image": views if number else views[0], "conversations": turns})
        told[f"{'+'.join(views)}#web-{number}"] = Told("phone", "train", "", False, exchanges=1)
    (root / "mvtec/bottle_zero_shot.json").write_text(json.dumps(items))
    (root / "web.json").write_text(json.dumps(web))
    bad = "mvtec/bottle/test/broken_large/000.png"
    return Drawn(told, "mvtec/bottle/train/good/000.png", bad, key_of_bad=f"{bad}#bottle_zero_shot-1")


def draw_visa_dr(root: Path) -> Drawn:
    told, detection, reasoning = {}, [], []
    for number, anomaly in enumerate((False, True)):
        path = f"VisA/candle/test/{'bad' if anomaly else 'good'}/{number:03d}.JPG"
        image(root / path)
        detection.append({"image": path, "anomaly": anomaly})
        kind = "defect" if anomaly else None
        told[f"{path}#test_data.json-{number}"] = Told("candle", "test", kind, not anomaly, exchanges=1)
        reasoning.append({"image": path, "questions": ["Is it damaged?", "Why?"], "answers": ["Yes.", "It melted."]})
        told[f"{path}#visa_dr.json-{number}"] = Told("candle", "test", "", False, exchanges=2)
    (root / "VisA/test_data.json").write_text(json.dumps(detection))
    (root / "VisA/visa_dr.json").write_text(json.dumps(reasoning))
    bad = "VisA/candle/test/bad/001.JPG"
    return Drawn(told, "VisA/candle/test/good/000.JPG", bad, key_of_bad=f"{bad}#test_data.json-1")


def draw_mmad(root: Path) -> Drawn:
    told, index = {}, {}
    templates = [f"MVTec-AD/bottle/train/good/{number:03d}.png" for number in range(2)]
    for template in templates:
        image(root / template)
        told[template] = Told("bottle", "train", None)
    asked = {
        "Question": "Is there any defect in the object?",
        "Answer": "A",
        "Options": {"A": "Yes.", "B": "No."},
        "type": "Anomaly Detection",
    }
    for kind, number in (("broken_large", 0), ("broken_large", 1), ("good", 0)):
        key, own = f"DS-MVTec/bottle/image/{kind}/{number:03d}.png", f"rbg_mask/{kind}/{number:03d}_mask.png"
        image(root / key)
        if kind != "good":
            mask(root / "DS-MVTec/bottle" / own)
        index[key] = {
            "image_path": f"image/{kind}/{number:03d}.png",
            "mask_path": own if kind != "good" else "",
            "conversation": [asked, asked | {"Question": "What is it?", "type": "Object Analysis"}],
            "similar_templates": templates,
            "random_templates": templates[::-1],
        }
        told[key] = Told("bottle", "test", None if kind == "good" else "broken large", exchanges=2)
    (root / "mmad.json").write_text(json.dumps(index))
    bad = "DS-MVTec/bottle/image/broken_large/001.png"
    return Drawn(
        told, "DS-MVTec/bottle/image/good/000.png", bad, "DS-MVTec/bottle/rbg_mask/broken_large/001_mask.png", bad
    )


TREES: dict[str, Callable[[Path], Drawn]] = {
    "mvtec_ad": draw_mvtec,
    "mvtec_loco": draw_mvtec_loco,
    "visa": draw_visa,
    "real_iad": draw_real_iad,
    "btad": draw_btad,
    "dagm": draw_dagm,
    "eyecandies": draw_eyecandies,
    "kolektor_sdd": draw_kolektor_sdd,
    "kolektor_sdd2": draw_kolektor_sdd2,
    "miad": draw_mvtec,
    "mpdd": draw_mvtec,
    "anomaly_instruct": draw_anomaly_instruct,
    "visa_dr": draw_visa_dr,
    "mmad": draw_mmad,
    "folder": draw_mvtec,
}


def draw(name: str, root: Path) -> Drawn:
    """The tree of a dataset, drawn into a folder that does not exist yet."""
    root.mkdir(parents=True)
    return TREES[name](root)
