"""Procedural products: an endless supply of designs, photographs, defects, masks and words, from a seed alone.

Read design.py for what a product is, defects.py for what goes wrong with it, camera.py for how it is photographed, and
factory.py for the sequence of photographs. It knows nothing of training: data/sources/procedural.py makes it a source.
"""

from iadgpt_jax.procedural.factory import Factory, Piece
from iadgpt_jax.procedural.words import corpus

__all__ = ["Factory", "Piece", "corpus"]
