"""Speed compared with transformers + torch: one file for each thing measured; tools/benchmark.py runs them.

Both sides have the same weights and get the same images and tokens. Their outputs are compared before they are timed.
"""
