"""IADGPT in PyTorch, shipped with an export: these files are copied beside the weights and loaded by transformers.

They need torch, transformers, numpy and Pillow, and nothing of this package. What a model says and reads beyond its
weights (prompts, keywords, positions, image side) travels in config.json's section `iadgpt` (convert/twin.py).
"""
