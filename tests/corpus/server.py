"""An OpenAI-compatible endpoint on loopback that misbehaves, and remembers every question.

What it does with a question follows from image and perspective alone, so two runs meet the same trouble: some are
answered at once, some after a 429, a 500, a time-out, a body cut off, an answer cut off; some are refused. As paid
endpoints do, it answers a request whose Idempotency-Key it has seen from memory, and bills it once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from iadgpt_jax.corpus.prompts import read_prompts

TROUBLES = ("", "429", "500", "time-out", "cut body", "cut answer", "prose")
PERSPECTIVES = tuple(read_prompts().perspectives)
SLOW = 0.6  # seconds of a time-out; longer than the client of the tests waits
USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}


@dataclass
class Server:
    """`troubles` are handed out in turn by the question's hash. refused: images (hashes of their JPEGs) that are never
    described. Counters are by (image, perspective)."""

    troubles: tuple[str, ...] = TROUBLES
    refuse_every: int = 5  # one image of so many is refused; 0: none
    requests: Counter = field(default_factory=Counter)
    answered: Counter = field(default_factory=Counter)  # whole answers that were billed
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    status: tuple[int, dict] | None = None  # what every question gets, if set
    delay: float = 0.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, bytes]] = {}  # by Idempotency-Key

    def refuses(self, image: str) -> bool:
        return bool(self.refuse_every) and int(image[:8], 16) % self.refuse_every == 0

    def reply(self, body: dict, key: str) -> tuple[str, int, dict[str, str], bytes]:
        """(how to send it, status, headers, body) for a question."""
        shown, asked = body["messages"][1]["content"]
        image = hashlib.sha256(shown["image_url"]["url"].encode()).hexdigest()
        wanted = (key.partition("-")[0], asked["text"])
        perspective = next(
            name for name in PERSPECTIVES if asked["text"].endswith(read_prompts().question(name, "")[-40:])
        )
        question = (image, perspective)
        with self._lock:
            before = self.requests[question]
            self.requests[question] += 1
            if self.status:
                return "whole", self.status[0], {}, json.dumps(self.status[1]).encode()
            number = int(hashlib.sha256("|".join(question).encode()).hexdigest()[:8], 16)
            trouble = self.troubles[number % len(self.troubles)] if before == 0 else ""
            if trouble == "429":
                error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
                return "whole", 429, {"Retry-After": "0.05"}, json.dumps(error).encode()
            if trouble == "500":
                return "whole", 500, {}, b"<html>the upstream is gone</html>"
            if trouble in ("cut answer", "prose"):
                text = '{"description": "A roun' if trouble == "cut answer" else "Here is what you asked for."
                return "whole", 200, {}, _completion(text, "length" if trouble == "cut answer" else "stop")
            if key not in self._seen:
                self.answered[question] += 1
                text = {"description": f"This shows the {perspective} of part {image[:12]}, as it was made."}
                made = _completion(json.dumps(text), "stop")
                if self.refuses(image):
                    made = _completion("I'm sorry, but I can't help with this picture.", "stop")
                self._seen[key] = wanted, made
            assert self._seen[key][0] == wanted, "one Idempotency-Key for two questions"
            how = {"time-out": "late", "cut body": "cut"}.get(trouble, "whole")
            return how, 200, {}, self._seen[key][1]


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, answering at `server.url` until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            how, status, headers, data = server.reply(body, self.headers["Idempotency-Key"])
            time.sleep(SLOW if how == "late" else server.delay)
            with contextlib.suppress(ConnectionError):  # the client has gone
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json"} | headers).items():
                    self.send_header(name, value)
                cut = data[: len(data) // 2] if how == "cut" else data
                self.send_header("Content-Length", str(len(cut)))
                self.end_headers()
                self.wfile.write(cut)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _completion(text: str, finish: str) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    made = {"id": "c", "object": "chat.completion", "created": 0, "model": "toy", "choices": [choice], "usage": USAGE}
    return json.dumps(made).encode()
