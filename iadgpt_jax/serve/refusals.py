"""Requests that are not answered, and the status that says why."""

from __future__ import annotations

from typing import Literal

from iadgpt_jax.errors import InputError, printable

Kind = Literal[
    "invalid_request", "unauthorized", "forbidden", "not_found", "conflict", "timeout", "too_large", "unsupported_type",
    "busy", "unavailable", "internal",
]  # fmt: skip
RETRY_SECONDS = 1
_STATUS: dict[Kind, int] = {
    "invalid_request": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "timeout": 408, "conflict": 409,
    "too_large": 413, "unsupported_type": 415, "busy": 429, "internal": 500, "unavailable": 503,
}  # fmt: skip


class Refused(Exception):
    """A request that is refused. The message is one line for the client: what is wrong and what to do."""

    def __init__(self, kind: Kind, message: str):
        super().__init__(message)
        self.kind, self.status = kind, _STATUS[kind]

    @property
    def body(self) -> dict:
        """As an OpenAI endpoint reports errors."""
        return {"error": {"message": printable(str(self)), "type": self.kind, "code": self.status}}

    @property
    def headers(self) -> dict[str, str]:
        """With when to come back, or how to say who one is."""
        if self.kind in ("busy", "unavailable"):
            return {"Retry-After": str(RETRY_SECONDS)}
        return {"WWW-Authenticate": "Bearer"} if self.kind == "unauthorized" else {}


def invalid(error: InputError) -> Refused:
    """Faulty input as a refusal."""
    return Refused("invalid_request", str(error))
