"""Sweeps: one file per table of ablations."""
