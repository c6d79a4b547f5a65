"""Samples -> instances: describe (stage 1), differences (stage 2), inspect (stage 3)."""
