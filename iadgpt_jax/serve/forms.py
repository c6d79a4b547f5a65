"""Forms that clients send: their fields and files, or a refusal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from iadgpt_jax.serve.refusals import Refused

MULTIPART = "multipart/form-data"


def type_of(request: Request) -> str:
    """The media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@contextlib.asynccontextmanager
async def form_of(request: Request, files: int) -> AsyncIterator[FormData]:
    """The fields of a request's form with at most `files` files. Raises Refused for what is none."""
    if type_of(request) != MULTIPART:
        raise Refused("unsupported_type", f"send photographs as {MULTIPART}, or one as an image")
    try:
        form = await request.form(max_files=files, max_fields=20)
    except Refused:
        raise
    except Exception as error:
        told = getattr(error, "detail", None) or getattr(error, "message", None) or "it is damaged"
        raise Refused("invalid_request", f"the form cannot be read: {told}") from error
    try:
        yield form
    finally:
        await form.close()


def files_of(form: FormData, key: str) -> list[UploadFile]:
    """The files of a field, in order."""
    return [value for value in form.getlist(key) if isinstance(value, UploadFile)]


def text_of(form: FormData, key: str, default: str) -> str:
    """A field of text. Raises Refused where it is a file."""
    value = form.get(key, default)
    if not isinstance(value, str):
        raise Refused("invalid_request", f"{key} is a file; send it as text")
    return value


def number_of(form: FormData, key: str, default: float) -> float:
    """A field that is a number, finite. Raises Refused where it is none."""
    try:
        value = float(text_of(form, key, str(default)))
    except ValueError as error:
        raise Refused("invalid_request", f"{key} is no number") from error
    if not math.isfinite(value):
        raise Refused("invalid_request", f"{key} is no number")
    return value
