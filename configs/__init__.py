"""Configurations: one file per stage of training. common.py has every key."""
