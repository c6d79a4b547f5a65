"""How long a photograph takes over HTTP at 1, 8 and 32 clients, beside one-by-one `Inspector.inspect`; nothing is lost.

    python tools/load_test.py --checkpoint=DIR [--requests=128] [--out=FILE]

Starts launch/serve.py on loopback with a product of made-up photographs, inspects the same photographs without it,
then with it; then lets clients leave without waiting, and stops the server while requests are under way. Prints a table
and writes FILE, JSON. Ends with status 1 where an answer was lost or differs from that of `inspect`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.data.images import encode_png
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.whole_file import write_json

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 8, 32)
BATCHES = (1, 2, 3, 4, 6, 8)  # sizes the model is compiled for
NAME, PATH = "load", "/products/load/inspect"
CLOSE = 1e-3  # of margins, in float32: batches of other sizes round otherwise


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    flags = parse(arguments)
    kind_of(flags.checkpoint)
    from iadgpt_jax.infer.inspector import Inspector

    rng = np.random.default_rng(0)
    pictures = [photograph(rng, flags.pixels) for _ in range(flags.shots + 16)]
    good, parts = pictures[: flags.shots], pictures[flags.shots :]
    bodies = [encode_png(part) for part in parts]

    # ---- Without a server: a photograph after the other, decoding included ----
    inspector = Inspector.load(flags.checkpoint)
    expected = [inspector.inspect(part, good, explain=False).margin for part in parts]
    from iadgpt_jax.data.images import decode_image

    seconds = []
    for number in range(flags.requests):
        start = time.perf_counter()
        inspector.inspect(decode_image(bodies[number % len(bodies)], "part"), good, explain=False)
        seconds.append(time.perf_counter() - start)
    rows = {"inspect, one by one": summary(seconds, sum(seconds))}

    # ---- With one ----
    with tempfile.TemporaryDirectory(prefix="iadgpt-load-") as folder:
        save(flags.checkpoint, inspector, good, Path(folder))
        server, port = started(flags.checkpoint, Path(folder))
        try:
            wait = [multipart(bodies[:size]) for size in BATCHES]
            for body, kind in wait:  # compile
                post(port, body, kind)
            wrong = 0
            for clients in CLIENTS:
                seconds, wall, answers = load(port, bodies, clients, flags.requests)
                wrong += sum(abs(margin - expected[n % len(parts)]) > CLOSE for n, margin in enumerate(answers))
                rows[f"server, {clients} client{'s' * (clients > 1)}"] = summary(seconds, wall)
            left = leave(port, bodies)
            _, _, after = load(port, bodies, 8, 32)
            answered = stop(server, port, bodies)
            server.wait(120)
        finally:
            server.kill()
            server.stderr.close()
    lost = 32 - len(after) + 16 - answered
    print(table(rows))
    print(f"\n{wrong} answers that differ; {left} clients left, then {len(after)} of 32 requests answered; "
          f"{answered} of 16 under way at SIGTERM answered; exit status {server.returncode}")  # fmt: skip
    if flags.out:
        machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
        write_json(flags.out, {
            "rows": rows, "wrong": wrong, "left": left, "lost": lost, "exit_status": server.returncode,
            "shots": flags.shots, "pixels": flags.pixels, "requests": flags.requests, "machine": machine,
        })  # fmt: skip
    return int(bool(wrong or lost or server.returncode))


def photograph(rng: np.random.Generator, pixels: int) -> np.ndarray:
    """A made-up picture uint8[pixels, pixels, 3] of soft patches, which takes about as long to decode as a real one."""
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    soft = np.asarray(small.resize((pixels, pixels), Image.Resampling.BICUBIC), np.int16)
    return np.clip(soft + rng.integers(-4, 5, soft.shape), 0, 255).astype(np.uint8)


def save(checkpoint: Path, inspector, good: Sequence[np.ndarray], folder: Path) -> None:
    """The product that the server has."""
    from iadgpt_jax.checkpoint.load import open_checkpoint
    from iadgpt_jax.infer.product import Product, checkpoint_name
    from iadgpt_jax.infer.product_file import save_product
    from iadgpt_jax.infer.threshold import Threshold

    name = checkpoint_name(open_checkpoint(checkpoint))
    product = Product(
        NAME, tuple(good), Threshold(), (0.0, 1.0), inspector.ratio, inspector.side, name, prompt=inspector.prompt
    )
    save_product(product, folder / NAME)


def started(checkpoint: Path, products: Path) -> tuple[subprocess.Popen, int]:
    """(server, port) once it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "launch/serve.py", f"--checkpoint={checkpoint}", f"--products={products}"]
    server = subprocess.Popen([*command, f"--port={port}"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = []
    for line in server.stderr:
        said.append(line)
        if "listening at" in line:
            threading.Thread(target=server.stderr.read, daemon=True).start()  # or a full pipe would stop it
            return server, port
    raise InputError(f"the server did not start: {' '.join(said)}")


def post(port: int, body: bytes, kind: str = "image/png") -> dict:
    """The answer to one request on a connection of its own; RuntimeError where it is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", PATH, body, {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {text[:200]!r}")
        return json.loads(text)
    finally:
        connection.close()


def multipart(bodies: Sequence[bytes]) -> tuple[bytes, str]:
    """A form with several photographs."""
    mark = "a-boundary-that-no-PNG-holds"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="photograph"; filename="{n}.png"\r\n\r\n'.encode() + body
        for n, body in enumerate(bodies)
    ]
    return b"\r\n".join(parts) + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def load(port: int, bodies: Sequence[bytes], clients: int, requests: int) -> tuple[list[float], float, list[float]]:
    """(seconds of each request, seconds in all, margins in order) of so many clients that ask one after the other."""

    def ask(number: int) -> tuple[float, float]:
        start = time.perf_counter()
        told = post(port, bodies[number % len(bodies)])
        return time.perf_counter() - start, told["results"][0]["margin"]

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(ask, range(requests)))
    return [seconds for seconds, _ in done], time.perf_counter() - start, [margin for _, margin in done]


def leave(port: int, bodies: Sequence[bytes], clients: int = 16) -> int:
    """So many clients send a photograph whole and close the connection without waiting."""
    for number in range(clients):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            body = bodies[number % len(bodies)]
            head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return clients


def stop(server: subprocess.Popen, port: int, bodies: Sequence[bytes], clients: int = 16) -> int:
    """How many requests are answered of so many that were sent when SIGTERM comes."""
    connections = []
    for number in range(clients):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        connection.request("POST", PATH, bodies[number % len(bodies)], {"Content-Type": "image/png"})
        connections.append(connection)
    with socket.create_connection(("127.0.0.1", port)) as last:  # accepted in turn, so when it is answered all were
        last.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        last.recv(1)
    server.send_signal(signal.SIGTERM)
    return sum(answered(connection) for connection in connections)


def answered(connection: http.client.HTTPConnection) -> bool:
    try:
        return connection.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()


def summary(seconds: Sequence[float], wall: float) -> dict[str, float]:
    median, late = np.percentile(seconds, (50, 95)) * 1000
    return {"median_ms": float(median), "p95_ms": float(late), "per_second": len(seconds) / wall}


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = ["| | median ms | 95 % below, ms | photographs per second |", "|---|---:|---:|---:|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {row['median_ms']:.1f} | {row['p95_ms']:.1f} | {row['per_second']:.1f} |")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="as of launch/serve.py")
    parser.add_argument("--requests", type=counted, default=128, help="of each row of the table (default: 128)")
    parser.add_argument("--shots", type=counted, default=4, help="references of the product (default: 4)")
    parser.add_argument("--pixels", type=counted, default=640, help="side of the photographs (default: 640)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the table as JSON")
    return parser.parse_args(arguments)


def counted(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r}: choose 1 to 10000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
