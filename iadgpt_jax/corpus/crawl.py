"""Image search through icrawler: the only file that knows it."""

from __future__ import annotations

import logging
from pathlib import Path

from iadgpt_jax.optional import optional

ENGINES = ("bing", "google")
LICENCES = ("any", "noncommercial", "commercial", "noncommercial,modify", "commercial,modify")
QUERY = "{} industrial product photo"
THREADS = 4  # that download; politer than the engines' own pages


class WebSearch:
    """Photographs of a category from an image search engine.

    licence: only images that the engine believes to be under such a licence; "any": all. Raises InputError where
    icrawler is not installed.
    """

    def __init__(self, engine: str = "bing", licence: str = "any"):
        self._builtin = optional("icrawler.builtin", "icrawler", "corpus")
        self._engine = engine
        self._filters = {"type": "photo"} | ({"license": licence} if licence != "any" else {})

    def __call__(self, category: str, folder: Path, most: int) -> list[tuple[str, str]]:
        """Download at most about `most` images into a folder; returns (file name, address) of each that came.

        What cannot be fetched is left out; nothing found, for whatever reason, is an empty list.
        """
        found: list[tuple[str, str]] = []
        crawler_of = {"bing": self._builtin.BingImageCrawler, "google": self._builtin.GoogleImageCrawler}[self._engine]
        crawler = crawler_of(
            downloader_threads=THREADS,
            downloader_cls=_remembering(found),
            storage={"root_dir": str(folder)},
            log_level=logging.CRITICAL,
        )
        for name in ("icrawler", "feeder", "parser", "downloader"):  # one line for every address is too much
            logging.getLogger(name).setLevel(logging.CRITICAL)
        crawler.crawl(keyword=QUERY.format(category), filters=self._filters, max_num=most)
        return sorted(found)


def _remembering(found: list[tuple[str, str]]) -> type:
    """A downloader that appends (file name, address) of every image it has stored."""
    from icrawler import ImageDownloader

    class Remembering(ImageDownloader):
        def process_meta(self, task: dict) -> None:
            if task["success"]:
                found.append((task["filename"], task["file_url"]))

    return Remembering
