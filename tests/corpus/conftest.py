"""A small folder of products, and a server that describes them, for the tests of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import pipeline
from tests.corpus.server import Server, running


@pytest.fixture
def products(tmp_path) -> Path:
    """Drawn products with something to leave out of every kind."""
    return pipeline.draw_products(tmp_path / "products")


@pytest.fixture
def server(monkeypatch):
    """A server in every kind of trouble, and the key it does not look at."""
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    with running(Server()) as one:
        yield one
