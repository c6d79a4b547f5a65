"""The quickstart's last page, read off sources as they are, and the memory that it starts with."""

import os
import sys
from argparse import Namespace

from iadgpt_jax.data.sources.procedural import ProceduralSource
from launch.quickstart import facts, set_huge_pages


def test_the_report_counts_the_categories_of_both_sources():
    results = {"wall_seconds": 9.0, "training_seconds": 5.0, "export": {"note": ""}}
    train, held_out = ProceduralSource(0, "train", 5, 1, 1), ProceduralSource(0, "held_out", 3, 1, 1)
    told = facts(Namespace(workdir="w", seed=0), results, train, held_out)
    assert told["products"] == "5 training categories, 3 held out, a quarter of them of unseen families"
    assert told["export"] == "equal to stock transformers"


def test_it_starts_itself_again_with_huge_pages_once_and_on_glibc_alone(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *how: started.append(how))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "iadgpt", "quickstart", "--seed=3"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    set_huge_pages()
    assert not started
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    set_huge_pages()
    ((program, words, environment),) = started
    assert program == sys.executable and words[1:] == ["iadgpt", "quickstart", "--seed=3"]
    monkeypatch.setenv("GLIBC_TUNABLES", environment["GLIBC_TUNABLES"])
    set_huge_pages()
    assert len(started) == 1 and environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
