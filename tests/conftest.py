"""Tests run on eight fake CPU devices, without network; real photographs are used where they lie beside the project.

`make test` spreads the files over two processes. What a file compiled is forgotten after it, so that a process stays
small; on disk it is kept until the end, for other files and for the processes that tests start. So is the bytecode of
what they import.
"""

import ctypes
import gc
import os
import resource
import sys
import tempfile

# Before anything imports jax: the number of devices is fixed when its backend starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["HF_HUB_OFFLINE"] = "1"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # processes of pytest-xdist find it set by the one that started them
    _compiled = tempfile.TemporaryDirectory(prefix="iadgpt-tests-compiled-")  # removed when this process ends
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
if sys.dont_write_bytecode:  # as many containers ask for: every process would compile whatever it imports, for seconds
    _bytecode = tempfile.TemporaryDirectory(prefix="iadgpt-tests-bytecode-")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = _bytecode.name
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads; there are processes enough

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

_PEAKS = pytest.StashKey[dict[str, int]]()  # process -> its peak memory in bytes
GROWTH = 100 * 2**20  # bytes a process may grow by before garbage is looked for, which takes a third of a second
_bytes_kept = 0  # what it held after that


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """After each file JAX drops its traces and compiled programs, and the tests what they cached: kept, they add up to
    gigabytes. glibc would keep what compiling needed, too, a few hundred megabytes."""
    global _bytes_kept
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith("tests."):
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()
    if "jax" not in sys.modules:
        return
    sys.modules["jax"].clear_caches()
    if not _bytes_kept or _bytes_now() > _bytes_kept + GROWTH:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)
        _bytes_kept = _bytes_now()


def pytest_collection_finish():
    """What libraries made while they were imported stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def quick_compilation():
    """For files whose programs take longer to compile than to run: XLA leaves most optimizations out, also in the
    processes that these tests start."""
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.clear_caches()  # in memory a program is not told from the same one compiled otherwise
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def _bytes_now() -> int:
    """Resident memory of this process; 0 where there is no /proc to say it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # in a process of pytest-xdist
        session.config.workeroutput["peak_bytes"] = _peak_bytes()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """pytest-xdist: a process has ended; `workeroutput` is what it handed back, missing where it died."""
    peaks = node.config.stash.setdefault(_PEAKS, {})
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak_bytes", 0)


def pytest_terminal_summary(terminalreporter, config):
    for process, peak in sorted((config.stash.get(_PEAKS, None) or {"this process": _peak_bytes()}).items()):
        terminalreporter.write_line(f"peak memory of {process}: {peak / 2**30:.1f} GiB")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material (real photographs, Qwen's configuration): $IADGPT_SHARED, or ../shared."""
    path = Path(os.environ.get("IADGPT_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}; set IADGPT_SHARED to the folder that holds data/real_iad_mini")
    return path
