"""Work for the host, done by threads ahead of use: pictures are decoded while the device computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def prefetch(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2, threads: int | None = None
) -> Iterator[Result]:
    """`work` of every item, in order; `ahead` results at most are waiting. An exception in `work` comes out here."""
    pending: deque = deque()
    with ThreadPoolExecutor(threads or min(ahead, os.cpu_count() or 1)) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
