"""Inspect photographs over HTTP: products, inspections in batches, chats as OpenAI's clients speak, metrics.

    iadgpt serve --checkpoint=DIR [--products=DIR] [--port=8000]      python launch/serve.py … does the same
    curl -F reference=@good.png -F name=screws localhost:8000/products
    curl -F photograph=@part.png localhost:8000/products/screws/inspect

The server listens on loopback. Where it can be reached from other machines, it needs a key, in the environment as
IADGPT_API_KEY. docs/server.md lists the routes.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import logging

from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.optional import optional


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.WARNING)
    flags = parse(arguments)

    # ---- Check the arguments before JAX is loaded ----
    kind_of(flags.checkpoint)
    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn"), ("python_multipart", "python-multipart"),
                            ("prometheus_client", "prometheus-client")):  # fmt: skip
        optional(module, package, "app")
    if not 1 <= flags.port <= 65535:
        raise InputError(f"--port={flags.port}: choose 1 to 65535")
    if not 0 < flags.most_megabytes < math.inf:
        raise InputError(f"--most_megabytes={flags.most_megabytes}: choose a number above 0")
    key = os.environ.get("IADGPT_API_KEY", "")

    from iadgpt_jax.serve.run import check_address, run

    hosts = check_address(flags.host, key)

    # ---- The model, its products, the server ----
    print(f"loading {flags.checkpoint}", file=sys.stderr)
    from iadgpt_jax.checkpoint.load import open_checkpoint
    from iadgpt_jax.infer.inspector import Inspector
    from iadgpt_jax.infer.product import checkpoint_name
    from iadgpt_jax.serve.limits import Limits
    from iadgpt_jax.serve.ready import Catalog
    from iadgpt_jax.serve.service import make_service

    limits = Limits(queue=flags.queue, seconds=flags.timeout, body_bytes=int(flags.most_megabytes * 1e6))
    inspector = Inspector.load(flags.checkpoint, ratio=flags.ratio, side=flags.side)
    name = checkpoint_name(open_checkpoint(flags.checkpoint), inspector.step)
    catalog = Catalog(flags.products, inspector, name)
    app = make_service(catalog, limits, key, hosts)
    count = len(catalog.names())

    def listening() -> None:
        print(
            f"model {name}, {count} products in {flags.products}; listening at http://{flags.host}:{flags.port}",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    run(app, flags.host, flags.port, limits.seconds, listening)
    print("stopped: what was taken on is finished", file=sys.stderr)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=("checkpoint",))
    made.add_argument(
        "--checkpoint", required=True, type=Path, metavar="DIR",
        help="a training workdir, one step in its checkpoints folder, or a Hugging Face directory",
    )  # fmt: skip
    made.add_argument(
        "--products", type=Path, default=Path("products"), metavar="DIR",
        help="folder that keeps the products (default: products)",
    )  # fmt: skip
    made.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    made.add_argument("--port", type=int, default=8000, help="port to listen at (default: 8000)")
    made.add_argument(
        "--ratio", type=float, default=1.0, metavar="R",
        help="of new products: share of the tokens kept of every reference but the first (default: 1.0)",
    )  # fmt: skip
    made.add_argument(
        "--side", type=int, metavar="N",
        help="of new products: pixels of the square that images are squashed to (default: that of training)",
    )  # fmt: skip
    made.add_argument(
        "--queue",
        type=int,
        default=64,
        metavar="N",
        help="photographs that may wait; more get status 429 (default: 64)",
    )
    made.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="a request waits at most so long (default: 60)"
    )
    made.add_argument(
        "--most_megabytes", type=float, default=64.0, metavar="MB",
        help="of a request; larger ones get status 413 (default: 64)",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    main()
