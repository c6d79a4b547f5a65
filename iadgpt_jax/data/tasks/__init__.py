"""Samples -> instances. One task a file; table.py names them all, prompts.py holds every sentence they teach."""
