"""What a piece of work cost: time, and the highest anonymous memory of this process while it ran.

Anonymous memory is what the process itself holds; pages of files it has mapped are not counted, since the system takes
them back whenever it needs them.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")
_EVERY = 0.02  # seconds


class Work:
    """Measures what runs inside `with Work() as work`: work.seconds, work.cpu_seconds, work.peak_bytes."""

    def __enter__(self) -> Work:
        self.seconds = self.cpu_seconds = 0.0
        self._start, self._cpu_start, self.peak_bytes = time.monotonic(), time.process_time(), anonymous_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, anonymous_bytes())
        self.seconds, self.cpu_seconds = time.monotonic() - self._start, time.process_time() - self._cpu_start

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes())

    def summary(self, size: int) -> str:
        """One line about having moved `size` bytes."""
        rate, peak, cpu = size / max(self.seconds, 1e-9) / 1e6, self.peak_bytes / 2**30, self.cpu_seconds
        return (
            f"{size / 1e6:.1f} MB in {self.seconds:.1f} s ({rate:.0f} MB/s, {cpu:.1f} s of processor time), "
            f"peak memory {peak:.2f} GiB"
        )


def anonymous_bytes() -> int:
    """Anonymous memory of this process now; where the system does not report it, the highest resident memory so far."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
