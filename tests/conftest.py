"""Tests run on eight fake CPU devices, without network; real photographs are used where they lie beside the project."""

import os

# Before anything imports jax: the number of devices is fixed when its backend starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material (real photographs, Qwen's configuration): $IADGPT_SHARED, or ../shared."""
    path = Path(os.environ.get("IADGPT_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}; set IADGPT_SHARED to the folder that holds data/real_iad_mini")
    return path
