"""Sweeps: named settings × seeds, trained and evaluated with what they share done once, and their table.

spec (what a sweep is) → plan (its jobs, known by their content) → run (here, in order of need) or job files for a
cluster → collect and table (what came of it). cost says what the same would take on a TPU slice.
"""
