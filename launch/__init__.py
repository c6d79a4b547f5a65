"""Commands: one file per verb of `iadgpt` (verbs.py), and launchers for clusters."""
