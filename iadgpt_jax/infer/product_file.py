"""Products on disk: a folder, or the same files in one ZIP to hand on.

    NAME/product.json             everything but pixels; names each reference by its SHA-256
    NAME/references/<hash>.png    the references' pixels, without what else a camera notes

Both may come from strangers: only these names are read, sizes are bounded before anything is, links are not followed,
and an archive is read in memory and never unpacked. product.json is written last, so a save that is interrupted leaves
the product as it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from iadgpt_jax.data.detection_prompt import INFO_KEY, DetectionPrompt, prompt_of
from iadgpt_jax.data.images import decode_image, encode_png, upright_size
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.product import MOST_REFERENCES, MOST_TILES, Product, check_pixels
from iadgpt_jax.infer.threshold import Threshold
from iadgpt_jax.whole_file import whole_file, write_json, write_whole

PRODUCT_FILE, REFERENCES = "product.json", "references"
VERSION = 1
MOST_JSON = 1_000_000  # bytes
MOST_PNG = 300_000_000  # bytes of one reference: 80 million pixels that do not compress
MOST_FILE = 500_000_000  # bytes of an archive
MOST_PROMPT = 5_000  # characters of its JSON
MOST_MEASURED = 10_000  # margins of good parts
_REFERENCE = re.compile(rf"{REFERENCES}/[0-9a-f]{{16}}\.png")
_DATE = (1980, 1, 1, 0, 0, 0)  # of the files in an archive: equal products are equal bytes

Read = Callable[[str, int], bytes]  # (name, most bytes) -> content


def save_product(product: Product, folder: str | Path) -> None:
    """Write the product to a folder, made where there is none; a product that is there is replaced.

    Raises:
      InputError: it cannot be written there.
    """
    folder = Path(folder)
    described, pictures = _files_of(product)
    try:
        for name, data in pictures.items():
            write_whole(folder / name, data)
        write_json(folder / PRODUCT_FILE, described)
        for path in (folder / REFERENCES).iterdir():
            if f"{REFERENCES}/{path.name}" not in pictures and _REFERENCE.fullmatch(f"{REFERENCES}/{path.name}"):
                path.unlink()
    except OSError as error:
        raise InputError(
            f"product {product.name!r} cannot be written to {folder} ({error.strerror}): make room, or choose another"
        ) from error


def export_product(product: Product, path: str | Path) -> None:
    """Write the product as one file. Raises InputError where it cannot be written."""
    try:
        with whole_file(path) as stream:
            stream.write(product_bytes(product))
    except OSError as error:
        raise InputError(f"product {product.name!r} cannot be written to {path}: {error.strerror}") from error


def product_bytes(product: Product) -> bytes:
    """The product as the content of one ZIP file; equal products give equal bytes."""
    described, pictures = _files_of(product)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
        for name, data in {PRODUCT_FILE: json.dumps(described, indent=2).encode(), **pictures}.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    return buffer.getvalue()


def open_product(path: str | Path) -> Product:
    """The product in a folder or in an exported file.

    Raises:
      InputError: in one line, for whatever is missing, damaged, too large or not a product.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read(_from_folder(path), str(path))
        if path.stat().st_size > MOST_FILE:
            raise InputError(
                f"{path} has {path.stat().st_size:,} bytes, a product at most {MOST_FILE:,}; export it with "
                "smaller photographs"
            )
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is no ordinary file; give a product's folder or exported file")
        return product_of_bytes(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        told = getattr(error, "strerror", None) or error
        raise InputError(f"no product at {path} ({told}); give a product's folder or exported file") from error


def product_of_bytes(data: bytes, name: str) -> Product:
    """The product in the content of an exported file; `name` is what an InputError calls it."""
    if len(data) > MOST_FILE:
        raise InputError(
            f"{name} has {len(data):,} bytes, a product at most {MOST_FILE:,}; export it with smaller photographs"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(_from_archive(archive, name), name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is no product that was exported, or is damaged ({error}); export it anew") from error


def _files_of(product: Product) -> tuple[dict, dict[str, bytes]]:
    """(what product.json says, name -> PNG)."""
    listed, pictures = [], {}
    for reference in product.references:
        data = encode_png(reference)
        digest = hashlib.sha256(data).hexdigest()
        listed.append(digest)
        pictures[_place(digest)] = data
    described = {
        "product": VERSION,
        "name": product.name,
        "checkpoint": product.checkpoint,
        "ratio": product.ratio,
        "side": product.side,
        "tiles": list(product.tiles),
        INFO_KEY: product.prompt.to_dict(),
        "threshold": {
            "margin": product.threshold.margin, "share": product.threshold.share, "good": list(product.threshold.good)
        },
        "calm": list(product.calm),
        "references": listed,
    }  # fmt: skip
    return described, pictures


def _place(digest: str) -> str:
    return f"{REFERENCES}/{digest[:16]}.png"


def _read(read: Read, where: str) -> Product:
    """A product by its files, all of them checked."""
    try:
        described = json.loads(read(PRODUCT_FILE, MOST_JSON))
        if described["product"] != VERSION:
            raise InputError(
                f"{where} is a product of format {described['product']!r}, this version reads {VERSION}: export it anew"
            )
        name, checkpoint, references = described["name"], described["checkpoint"], described["references"]
        texts = [name, checkpoint, *references]
        if not all(isinstance(text, str) for text in texts) or len(references) > MOST_REFERENCES:
            raise ValueError("a text is none, or there are too many references")
        if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in references):
            raise ValueError("a reference is not named by its SHA-256")
        threshold, prompt = _threshold(described["threshold"]), _prompt(described, where)
        low, high = (_finite(value) for value in described["calm"])
        ratio, side, tiles = _finite(described["ratio"]), described["side"], tuple(described["tiles"])
        if len(tiles) != 2 or not all(type(count) is int and 1 <= count <= MOST_TILES for count in tiles):
            raise ValueError(f"its tiles are {tiles!r:.40}")
        if not 0 < ratio <= 1 or type(side) is not int or not 0 < side <= 1 << 14 or high < low:
            raise ValueError("its ratio, side or calm is none")
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} is no product, or its {PRODUCT_FILE} is damaged ({error}); export it anew"
        ) from error
    pictures, pixels = [], 0
    for digest in references:
        data = read(_place(digest), MOST_PNG)
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(f"{where}: {_place(digest)} has changed since it was written; export the product anew")
        pixels += math.prod(upright_size(data, f"{where}: {_place(digest)}"))
        check_pixels(name, pixels)  # before they are decoded
        pictures.append(decode_image(data, f"{where}: {_place(digest)}"))
    return Product(name, tuple(pictures), threshold, (low, high), ratio, side, checkpoint, tiles, prompt)


def _threshold(values: dict) -> Threshold:
    good = values["good"]
    if not isinstance(good, list) or len(good) > MOST_MEASURED:
        raise ValueError("its margins are no list, or too many")
    share = values["share"]
    if share is not None and not 0 < _finite(share) < 1:
        raise ValueError(f"the share is {share}")
    return Threshold(_finite(values["margin"]), share, tuple(sorted(_finite(margin) for margin in good)))


def _prompt(described: dict, where: str) -> DetectionPrompt:
    if len(json.dumps(described.get(INFO_KEY))) > MOST_PROMPT:  # each keyword is looked for in the whole question
        raise ValueError("its detection prompt is too long")
    return prompt_of(described, f"{where}: {PRODUCT_FILE}")


def _finite(value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _from_folder(folder: Path) -> Read:
    def read(name: str, most: int) -> bytes:
        path = folder / name
        try:
            if name != PRODUCT_FILE and (folder / REFERENCES).is_symlink():
                raise InputError(f"{folder / REFERENCES} is a link; a product's files lie in its own folder")
            # O_NONBLOCK: opening a pipe would wait for whoever writes to it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise InputError(f"{path} is no ordinary file; export the product anew")
                return _bounded(stream, most, str(path))
        except OSError as error:
            raise InputError(f"{folder} is no whole product: {name} cannot be read ({error.strerror})") from error

    return read


def _from_archive(archive: zipfile.ZipFile, where: str) -> Read:
    entries = archive.infolist()
    if len(entries) > 1 + MOST_REFERENCES:
        raise InputError(f"{where} holds {len(entries)} files, a product at most {1 + MOST_REFERENCES}; export it anew")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not (entry.filename == PRODUCT_FILE or _REFERENCE.fullmatch(entry.filename)) or kind not in (
            0,
            stat.S_IFREG,
        ):
            raise InputError(f"{where} holds {entry.filename[:80]!r}, which no product does; export it anew")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where} is compressed in a way that no product is; export it anew")
    if len({entry.filename for entry in entries}) != len(entries):
        raise InputError(f"{where} holds a file twice; export it anew")

    def read(name: str, most: int) -> bytes:
        if name not in archive.NameToInfo:
            raise InputError(f"{where} is no whole product: {name} is missing; export it anew")
        with archive.open(name) as stream:  # what an entry says of its size is not believed
            return _bounded(stream, most, f"{where}: {name}")

    return read


def _bounded(stream, most: int, name: str) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise InputError(f"{name} has more than {most:,} bytes, which no product's file has; export the product anew")
    return data
