"""What /metrics tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "iadgpt_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "iadgpt_request_seconds", "From a request to the end of its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.batches = Histogram(
            "iadgpt_batch_photographs", "Photographs the model inspected together.", buckets=(1, 2, 3, 4, 6, 8, 16, 32),
            registry=registry,
        )  # fmt: skip
        self.verdicts = Counter("iadgpt_verdicts", "Photographs inspected.", ["verdict"], registry=registry)
        self.abandoned = Counter(
            "iadgpt_abandoned", "Work that was dropped: its client left or its time ran out.", registry=registry
        )
        self.pieces = Counter("iadgpt_chat_pieces", "Pieces of text that chats were answered with.", registry=registry)
        self.queue = Gauge("iadgpt_queue", "Photographs and chats that wait.", registry=registry)
        self.products = Gauge("iadgpt_products", "Products that can be inspected.", registry=registry)
