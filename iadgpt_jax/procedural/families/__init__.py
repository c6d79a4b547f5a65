"""The product families. A family is a function: generator -> Product, one design of the family.

TRAINED families appear in both splits (with different designs), UNSEEN ones only among held-out categories.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iadgpt_jax.procedural.families import assemblies, machined, packaged, sheets, unseen
from iadgpt_jax.procedural.product import Product

Family = Callable[[np.random.Generator], Product]

TRAINED: dict[str, Family] = {**machined.FAMILIES, **packaged.FAMILIES, **assemblies.FAMILIES, **sheets.FAMILIES}
UNSEEN: dict[str, Family] = unseen.FAMILIES
