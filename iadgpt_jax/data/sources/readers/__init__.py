"""One reader a file: each turns a dataset's published layout into entries, from names and indexes alone.

A reader is a function `read(tree)` that yields an `Entry` for every image, in a fixed order, and tells the tree what it
leaves out. It reads no pixels. The table that names them all is data/sources/datasets.py.
"""
