"""A corpus of described products of one's own, in four steps: collect, clean, describe, publish.

Each step is a file of this name, reads what the step before left in the work folder (`workdir.py`), and goes on where
it was stopped. tools/build_corpus.py is its command line.
"""
