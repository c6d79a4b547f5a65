"""The products of a folder, opened for one model: `Catalog` finds them, `Ready` is one to inspect against."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from iadgpt_jax.data.images import resize_to
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.infer.product import Product, check_canvas, check_name
from iadgpt_jax.infer.product_file import PRODUCT_FILE, open_product, save_product
from iadgpt_jax.infer.tiles import WHOLE, Tiled, under
from iadgpt_jax.whole_file import PARTIAL

MOST_PRODUCTS = 1000
MOST_SETTINGS = 16  # under which the model is kept: each keeps references that it has read
MOST_BYTES = 1_000_000_000  # of the references of products that were read; those used last are kept


@dataclass(frozen=True, eq=False)
class Ready:
    """product: its references are squashed to `canvas`, which is all the model reads of them. inspector: the model
    under its settings; chat: that without tiles, for questions. stamp: tells whether its file has changed."""

    product: Product
    inspector: Inspector | Tiled
    chat: Inspector
    stamp: tuple[int, int]

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) that photographs are squashed to before they wait: a square for every tile."""
        return canvas_of(self.product)

    @property
    def bytes(self) -> int:
        """Of the references."""
        return sum(reference.nbytes for reference in self.product.references)


def canvas_of(product: Product) -> tuple[int, int]:
    """See `Ready.canvas`."""
    return product.tiles[0] * product.side, product.tiles[1] * product.side


class Catalog:
    """Products in the folders of one folder. Another process may add to it, change or remove them. Safe under threads.

    inspector: the model. checkpoint: its identity, which products must have been made with.
    """

    def __init__(self, folder: Path, inspector: Inspector, checkpoint: str):
        self.folder, self.inspector, self.checkpoint = folder, inspector, checkpoint
        self._ready: OrderedDict[str, Ready] = OrderedDict()
        self._inspectors: OrderedDict[tuple[float, int, tuple[int, int]], Inspector | Tiled] = OrderedDict()
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """Of the products on disk, in order, whether they can be opened or not."""
        if not self.folder.is_dir():
            return []
        found = (path.name for path in self.folder.iterdir() if (path / PRODUCT_FILE).is_file())
        return sorted(name for name in found if not name.startswith("."))

    def get(self, name: str) -> Ready | None:
        """The product; None where there is none of this name.

        Raises:
          InputError: it is damaged, or was made with another checkpoint.
        """
        check_name(name)
        with self._lock:
            stamp = self._stamp(name)
            if stamp is None:
                self._ready.pop(name, None)
                return None
            if name not in self._ready or self._ready[name].stamp != stamp:
                self._ready[name] = self._open(name, stamp)
            self._ready.move_to_end(name)
            while len(self._ready) > 1 and sum(one.bytes for one in self._ready.values()) > MOST_BYTES:
                self._ready.popitem(last=False)
            return self._ready[name]

    def whole(self, name: str) -> Product:
        """The product with its references as they were given. Raises InputError as `get`."""
        check_name(name)
        return open_product(self.folder / name)

    def under(self, ratio: float, side: int, tiles: tuple[int, int] = WHOLE) -> Inspector | Tiled:
        """The model under these settings; products that share them share it. Raises InputError where they cannot be."""
        with self._lock:
            settings = ratio, side, tiles
            if settings not in self._inspectors:
                check_canvas(side, tiles)
                self._inspectors[settings] = under(self.inspector, *settings)
            self._inspectors.move_to_end(settings)
            while len(self._inspectors) > MOST_SETTINGS:
                self._inspectors.popitem(last=False)
            return self._inspectors[settings]

    def save(self, product: Product, replace: bool = False) -> Ready:
        """Keep a product.

        Raises:
          InputError: it is none of this model's, its name is taken and `replace` is not set, or the disk is full.
        """
        product.check_made_with(self.checkpoint, self.inspector.prompt)
        with self._lock:
            names = self.names()
            if product.name in names and not replace:
                raise InputError(
                    f"there is a product {product.name!r} already; choose another name, or remove that one"
                )
            if len(names) >= MOST_PRODUCTS and product.name not in names:
                raise InputError(f"{self.folder} holds {len(names)} products, at most {MOST_PRODUCTS}; remove some")
            save_product(product, self.folder / product.name)
            return self.get(product.name)

    def with_share(self, name: str, share: float) -> Ready:
        """Keep the product with the threshold for another share. Raises InputError as `get` and `save`."""
        with self._lock:  # it cannot be removed meanwhile, and come back
            return self.save(self.whole(name).with_share(share), replace=True)

    def remove(self, name: str) -> bool:
        """Remove a product; whether there was one. Raises InputError where the folder cannot be written."""
        check_name(name)
        with self._lock:
            self._ready.pop(name, None)
            if self._stamp(name) is None:
                return False
            aside = self.folder / f"{PARTIAL}{os.urandom(6).hex()}"  # gone at once, also where removing takes a while
            try:
                (self.folder / name).rename(aside)
            except FileNotFoundError:  # another process was faster
                return False
            except OSError as error:
                raise InputError(f"product {name!r} cannot be removed ({error.strerror}); remove its folder") from error
            if aside.is_symlink():  # to a product elsewhere, which stays
                aside.unlink()
            shutil.rmtree(aside, ignore_errors=True)
            return True

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self.folder / name / PRODUCT_FILE).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def ready_of(self, product: Product, stamp: tuple[int, int] = (0, 0)) -> Ready:
        """A product that need not be saved. Raises InputError where its settings cannot be."""
        inspector = self.under(product.ratio, product.side, product.tiles)
        squares = tuple(resize_to(reference, canvas_of(product)) for reference in product.references)
        chat = self.under(product.ratio, product.side)
        return Ready(dataclasses.replace(product, references=squares), inspector, chat, stamp)

    def _open(self, name: str, stamp: tuple[int, int]) -> Ready:
        product = self.whole(name)
        if product.name != name:
            raise InputError(f"the product in {self.folder / name} is called {product.name!r}; rename its folder")
        product.check_made_with(self.checkpoint, self.inspector.prompt)
        return self.ready_of(product, stamp)
