"""Procedural products: an endless supply of designs, photographs, defects, masks and words, from a seed alone.

Read design.py for what a product is, defects.py for what goes wrong with it, camera.py for how it is photographed, and
source.py for the sequence of samples that training sees.
"""

from iadgpt_jax.procedural.source import ProceduralSource
from iadgpt_jax.procedural.words import corpus

__all__ = ["ProceduralSource", "corpus"]
