"""Which benchmark a dataset is, and its source: a folder in the published layout, or one that was prepared from it."""

from __future__ import annotations

import json
from pathlib import Path

from iadgpt_jax.data.sources.prepared import INFO_FILE, PreparedSource, is_prepared
from iadgpt_jax.data.sources.published import PublishedSource
from iadgpt_jax.data.sources.readers import mmad as mmad_layout
from iadgpt_jax.data.sources.readers import visa_dr as visa_dr_layout
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.cases import WordedSource

BENCHMARKS = (visa_dr.NAME, mmad.NAME)


def benchmark_of(dataset: str | Path) -> str | None:
    """The name of the benchmark that a dataset is, "visa_dr" or "mmad"; None where it is none. Reads no image."""
    path = Path(dataset)
    if is_prepared(path):
        try:
            name = json.loads((path / INFO_FILE).read_text(encoding="utf-8")).get("name")
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"cannot read {path / INFO_FILE}: {error}; run tools/prepare_data.py again") from error
        return name if name in BENCHMARKS else None
    if (path / mmad_layout.INDEX).is_file():
        return mmad.NAME
    lists = (visa_dr_layout.DETECTION, visa_dr_layout.REASONING)
    if any((path / folder / name).is_file() for folder in visa_dr_layout.FOLDERS for name in lists):
        return visa_dr.NAME
    return None


def open_benchmark(dataset: str | Path, name: str) -> WordedSource:
    """The source of a benchmark, at full size. Raises InputError where there is nothing to read."""
    path = Path(dataset)
    return PreparedSource(path) if is_prepared(path) else PublishedSource(path, name)
