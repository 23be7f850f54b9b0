"""Servers in threads of the tests, on free ports."""

import base64
import contextlib
import threading

import pytest

httpx = pytest.importorskip("httpx", reason="the package 'httpx' is not installed")
pytest.importorskip("fastapi", reason="the package 'fastapi' is not installed")
pytest.importorskip("uvicorn", reason="the package 'uvicorn' is not installed")
pytest.importorskip("prometheus_client", reason="the package 'prometheus_client' is not installed")
pytest.importorskip("torch", reason="the package 'torch' is not installed")

from smartml.serving import Server, create_app  # noqa: E402


@contextlib.contextmanager
def serving(predictor, limits=None, **options):
    """Serve a predictor; gives a client of the server."""
    server = Server(create_app(predictor, limits, **options), port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
            client.server = server
            yield client
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def as_body(sample):
    """A sample of models.make_sample as a request has it."""
    encoded = {
        "raw": base64.b64encode(sample["raw"]).decode(),
        "field": base64.b64encode(sample["field"].tobytes()).decode(),
    }
    return sample | encoded
