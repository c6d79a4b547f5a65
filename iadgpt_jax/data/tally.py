"""What packed rows hold, counted where they are packed: the host's side of rates and of how full rows are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """Counts of some rows; tallies of several rows add up.

    slots, images: decoder slots and image slots with content, out of slots_room and images_room. queries: query
    blocks, each what a prompt of its own would be. targets: answer tokens that are learned. maps: that are read.
    pairs: (query, key) pairs of slots that attend. instances: placed. dropped: instances that found no room and are
    not trained on.
    """

    slots: int = 0
    slots_room: int = 0
    images: int = 0
    images_room: int = 0
    queries: int = 0
    targets: int = 0
    maps: int = 0
    pairs: int = 0
    instances: int = 0
    dropped: int = 0

    def __add__(self, other: Tally) -> Tally:
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Tally(*(a + b for a, b in zip(mine, others, strict=True)))

    @property
    def filled(self) -> tuple[float, float]:
        """Shares of decoder slots and of image slots with content."""
        return self.slots / max(self.slots_room, 1), self.images / max(self.images_room, 1)

    @property
    def dropped_share(self) -> float:
        return self.dropped / max(self.instances + self.dropped, 1)
