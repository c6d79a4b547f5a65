"""A bucket of Google Cloud Storage on this machine: gcp-storage-emulator, in memory, which gcsfs and TensorStore are
pointed at by environment variables. Tests that import this are skipped where the emulator or gcsfs is not installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from http import HTTPStatus

import pytest

# Before gcsfs is imported: nobody is asked for credentials, nor for kinds of buckets that the emulator does not have,
# which would take seconds each time.
os.environ["NO_GCE_CHECK"], os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "true", "false"
os.environ["GOOGLE_AUTH_TOKEN_FOR_TESTING"] = "none"

pytest.importorskip("gcsfs", reason='needs gcsfs: pip install "iadgpt_jax[cloud]"')
pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator: pip install -r requirements-dev.txt")

import fsspec  # noqa: E402
from etils.epath import backend  # noqa: E402
from gcp_storage_emulator.handlers import objects  # noqa: E402

NAME = "a-bucket"
_download = objects.download


def _with_generation(request, response, storage, *args, **kwargs) -> None:
    """A download says which generation of the object it is, as the real service does and TensorStore expects."""
    _download(request, response, storage, *args, **kwargs)
    if response.status != HTTPStatus.NOT_FOUND:
        found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
        response["x-goog-generation"] = found["generation"]


objects.download = _with_generation  # before the module that makes its table of requests

from gcp_storage_emulator import server as emulator  # noqa: E402


@contextlib.contextmanager
def emulated_bucket() -> Iterator[str]:
    """gs://a-bucket, empty, for this process and those that it starts."""
    server = emulator.create_server("localhost", 0, in_memory=True, default_bucket=NAME)
    server.start()
    server._api._httpd.handle_error = lambda *_: None  # of clients that hang up
    address = f"http://localhost:{server._api._httpd.server_port}"
    mine = {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address}
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    try:
        yield f"gs://{NAME}"
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        fsspec.filesystem("gcs").clear_instance_cache()  # clients of the next one find its address
        backend.fsspec_backend._get_filesystem.cache_clear()
        server.stop()
