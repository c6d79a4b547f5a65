"""JSON that came with a dataset, read without trusting it."""

from __future__ import annotations

import json
from typing import Any

from iadgpt_jax.data.images import read_bytes
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.errors import InputError


def read_json(tree: Tree, path: str) -> Any:
    """What a JSON file holds; None, and the file left out, where it is not JSON."""
    tree.take(path)
    try:
        return json.loads(read_bytes(tree.path(path)))
    except InputError as error:
        tree.leave_out(path, str(error).replace(f"{tree.root}/", ""))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        tree.leave_out(path, f"not JSON: {error}")
    return None
