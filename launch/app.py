"""A page in the browser: drop good examples, drop parts, see verdict, map and explanation, ask, keep products.

    iadgpt app --checkpoint=DIR [--products=DIR] [--port=7860]        python launch/app.py … does the same

The page is served on loopback only, to this machine. Nothing is sent elsewhere, and the photographs are forgotten when
the app ends; products stay in their folder, where launch/serve.py and launch/predict.py find them. docs/app.md shows
it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
    logging.set_verbosity(logging.ERROR)
    flags = parse(arguments)

    # ---- Check the arguments before JAX is loaded ----
    kind_of(flags.checkpoint)
    if not 1 <= flags.port <= 65535:
        raise InputError(f"--port={flags.port}: choose 1 to 65535")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"loading {flags.checkpoint}", file=sys.stderr, flush=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    optional("gradio", "gradio", "app")

    # ---- The model, its products, the page ----
    from iadgpt_jax.checkpoint.load import open_checkpoint
    from iadgpt_jax.infer.inspector import Inspector
    from iadgpt_jax.infer.product import checkpoint_name
    from iadgpt_jax.serve.about import model_card
    from iadgpt_jax.serve.bench import Shop
    from iadgpt_jax.serve.device import Device
    from iadgpt_jax.serve.limits import Limits
    from iadgpt_jax.serve.metrics import Metrics
    from iadgpt_jax.serve.page import launch, make_page, new_folder
    from iadgpt_jax.serve.ready import Catalog

    inspector = Inspector.load(flags.checkpoint, side=flags.side)
    limits = Limits(seconds=86_400)  # a day: whoever sits before the page waits while the model compiles
    name = checkpoint_name(open_checkpoint(flags.checkpoint), inspector.step)
    device = Device(limits, Metrics())
    with new_folder() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as hands:
        os.environ["GRADIO_TEMP_DIR"] = folder
        shop = Shop(Catalog(flags.products, inspector, name), device, limits, hands)
        page = make_page(shop, model_card(inspector, name, flags.checkpoint), Path(folder))
        launch(page, shop, "127.0.0.1", flags.port, Path(folder))
        print(f"open http://127.0.0.1:{flags.port} in a browser; Ctrl-C ends", file=sys.stderr, flush=True)
        stop.wait()
        page.close(verbose=False)
        device.close()


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
    made.add_argument("--port", type=int, default=7860, help="port of the page (default: 7860)")
    made.add_argument(
        "--side", type=int, metavar="N",
        help="pixels of the square that images are squashed to, a multiple of 28 (default: that of training)",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    main()
