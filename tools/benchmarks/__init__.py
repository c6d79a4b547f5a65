"""Measurements beside transformers + torch: one file per thing measured; tools/benchmark.py runs them.

Both sides hold the same weights and read the same images and tokens, and a measurement begins by showing that their
outputs agree.
"""
