"""Page servers of real records, each in a thread with an event loop of its own."""

import asyncio
import threading
import urllib.error
import urllib.request

import pytest

from smartml.errors import MonitorError
from smartml.monitor import DataLogger, open_records


class Pages:
    """A running page server, and what a browser is told by it."""

    def __init__(self, server):
        self._server = server
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.error = None

    async def _run(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._server.run(self._stop, self._note)
        except MonitorError as error:
            self.error = error
        finally:
            self._started.set()

    def _note(self, address):
        self.address = address.rstrip("/")
        self._started.set()

    def start(self):
        self._thread.start()
        assert self._started.wait(20)
        return self

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def get(self, path="/", **headers):
        """Return status, headers and text of an answer."""
        request = urllib.request.Request(self.address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


@pytest.fixture
def serve():
    """Starts page servers of an address of records and a schema, given as YAML or as SchemaFile."""
    for package in ("tornado", "yaml", "bokeh"):
        pytest.importorskip(package, reason="needs what the extra 'monitor' brings: tornado, PyYAML, bokeh")
    from smartml.monitor.pages import FixedSchema, PageServer, assets, load_schema

    if not assets.are_there():
        pytest.skip("uPlot is not there: run `smartml monitor assets`, which needs npm")
    running = []

    def start(address, schema, **options):
        schema = FixedSchema(load_schema(schema)) if isinstance(schema, str) else schema
        options = {"refresh_s": 0.0, **options}
        running.append(Pages(PageServer(open_records(address), schema, **options)).start())
        return running[-1]

    yield start
    for pages in running:
        pages.stop()


@pytest.fixture
def log(server):
    """A logger of the run 'run' that sends at once."""
    with DataLogger("run", grpc_uri=server.address, flush_every=0.02) as logger:
        yield logger
