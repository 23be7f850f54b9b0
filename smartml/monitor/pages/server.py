"""The page server: HTTP and WebSockets in one process and one event loop, records and drawing in a thread each."""

import asyncio
import ipaddress
import json
import logging
import signal
import socket
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from smartml.errors import ArgumentValueError, AssetsError, MissingDependencyError, MonitorError
from smartml.extras import missing
from smartml.monitor.pages import assets, html
from smartml.monitor.pages.collection import Collection
from smartml.monitor.pages.drawing import Plot, Wish, make_plots
from smartml.monitor.pages.follower import Follower
from smartml.monitor.pages.frames import encode
from smartml.monitor.pages.layout import Layout, parse_layout
from smartml.monitor.pages.schema import PlotSchema
from smartml.monitor.pages.session import Session
from smartml.monitor.records import Records

try:
    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPServerRequest
    from tornado.web import Application, RequestHandler, StaticFileHandler
    from tornado.websocket import WebSocketClosedError, WebSocketHandler
except ImportError as error:
    raise MissingDependencyError(missing("tornado", "serving live pages", "monitor")) from error

logger = logging.getLogger(__name__)

# Between looks at the schema's file.
_SCHEMA_INTERVAL_S = 0.5
# A page says less than this at once.
_LONGEST_MESSAGE = 65_536
# Points of each line in a saved page are chosen as for a plot of this size.
_SAVED_SIZE = Wish(4000, 2000)
# Codes of RFC 6455, section 7.4.2, for private use: the page must be loaded anew.
_OUTDATED = 4000
_NOT_UNDERSTOOD = 1008
# Names of this machine that no foreign site can point at it.
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# Scripts come from here alone; styles may also be set by uPlot's script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


class Schema(Protocol):
    """What plots there are, as long as the server runs."""

    plots: dict[str, PlotSchema]
    problem: str | None

    def refresh(self) -> bool:
        """Look for changes; tell whether plots or problem are others than before."""
        ...


class FixedSchema:
    """Plots that never change."""

    problem: str | None = None

    def __init__(self, plots: dict[str, PlotSchema]) -> None:
        self.plots = plots

    def refresh(self) -> bool:
        return False


class PageServer:
    """Serves pages of plots of these records; closes the records with itself.

    refresh_s: the least time between two pictures of a plot. origins: hosts, or hosts with ports, by whose names pages
    may be opened beside `host` and the names of this machine.
    """

    def __init__(
        self,
        records: Records,
        schema: Schema,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        refresh_s: float = 0.1,
        origins: Sequence[str] = (),
    ) -> None:
        if not assets.are_there():
            raise AssetsError(
                f"live pages need {assets.PACKAGE}, which was not installed with smartml: run `smartml monitor assets`"
            )
        if not refresh_s >= 0:
            raise ArgumentValueError(f"refresh_s is {refresh_s}: it must be 0 or more")
        if host not in _LOCAL_NAMES:
            logger.warning(
                "everybody who reaches %s can read these pages, without a password: on 127.0.0.1, with a forwarded "
                "port (ssh -L), only you can",
                host,
            )
        self._schema = schema
        self._host = host
        self._port = port
        self._refresh_s = refresh_s
        self._names = {host, *_LOCAL_NAMES, *map(_host_of, origins), socket.gethostname(), socket.getfqdn()}
        self._collection = Collection()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="smartml-pages")
        self._pages: set[_Live] = set()
        self._follower = Follower(records, self._collection, self._notice)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, stop: asyncio.Event, started: Callable[[str], object] = lambda address: None) -> None:
        """Serve until the event is set; `started` is called with the address as soon as pages can be opened."""
        self._loop = asyncio.get_running_loop()
        try:
            listener = self._listen()
        except MonitorError:
            self._follower.close()
            raise
        server = HTTPServer(self._application(), max_body_size=_LONGEST_MESSAGE)
        server.add_sockets([listener])
        self._follower.start()
        schema_watch = asyncio.create_task(self._watch_schema())
        host = f"[{self._host}]" if ":" in self._host else self._host
        started(f"http://{host}:{listener.getsockname()[1]}/")
        try:
            await stop.wait()
        finally:
            schema_watch.cancel()
            server.stop()
            for page in list(self._pages):
                page.close(1001, "the page server ends")
            await self._loop.run_in_executor(None, self._follower.close)
            await server.close_all_connections()
            self._executor.shutdown()

    def _listen(self) -> socket.socket:
        try:
            family, *_, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
            listener = socket.create_server(address[:2], family=family, backlog=128)
        except OSError as error:
            raise MonitorError(f"pages cannot be served at {self._host}:{self._port}: {error}") from error
        listener.setblocking(False)
        return listener

    def _application(self) -> Application:
        given: dict[str, Any] = {"server": self}
        return Application(
            [
                (r"/", _Page, given),
                (r"/layout", _Form, given),
                (r"/live", _Live, given),
                (r"/save", _Saved, given),
                (r"/static/(.*)", _Static, {"path": str(html.STATIC)}),
                (r".*", _Unknown, given),
            ],
            websocket_ping_interval=20,
            websocket_max_message_size=_LONGEST_MESSAGE,
            log_function=_log,
        )

    # What follows is for the handlers below.

    @property
    def plots(self) -> dict[str, PlotSchema]:
        return self._schema.plots

    @property
    def problem(self) -> str | None:
        """What a page should tell of, beside its plots."""
        return self._follower.problem or self._schema.problem

    def names(self) -> dict[str, dict[str, int]]:
        return self._collection.names()

    def admits(self, host: str) -> bool:
        """Tell whether the server goes by this name: a foreign site must not reach it by a name of its own."""
        name = _host_of(host)
        return name in self._names or (self._host not in _LOCAL_NAMES and _is_number(name))

    def open(self, page: "_Live", layout: Layout) -> Session:
        plots = make_plots(layout, self.plots)
        self._pages.add(page)
        return Session(plots, self._collection, page.send, self._executor, self._refresh_s)

    def forget(self, page: "_Live") -> None:
        self._pages.discard(page)

    async def save(self, layout: Layout, title: str) -> str:
        """Return the page as one document."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._save, layout, title)

    def _save(self, layout: Layout, title: str) -> str:
        plots: list[Plot] = make_plots(layout, self.plots)
        pictures = [encode(plot.draw(self._collection, _SAVED_SIZE), i, 0) for i, plot in enumerate(plots)]
        config = html.page_config(layout, self.plots, title)
        return html.saved_page(title, config | {"saved": [b64encode(picture).decode() for picture in pictures]})

    # News, from the thread that follows the records and from the look at the schema.

    def _notice(self) -> None:
        assert self._loop is not None, "the follower starts after the loop"
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            logger.debug("news came when the server had ended")

    def _tell(self) -> None:
        for page in self._pages:
            page.notice()

    async def _watch_schema(self) -> None:
        while True:
            await asyncio.sleep(_SCHEMA_INTERVAL_S)
            before = self._schema.plots
            if self._schema.refresh():
                if self._schema.problem:
                    logger.warning("%s", self._schema.problem)
                for page in list(self._pages):
                    if self._schema.plots is not before:
                        page.close(_OUTDATED, "the schema has changed")
                    else:
                        page.notice()


class _Handler(RequestHandler):
    """What all answers have in common."""

    def initialize(self, server: PageServer) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        if not self.server.admits(self.request.host):
            self.refuse(403, _foreign(self.request.host))

    def refuse(self, status: int, message: str) -> None:
        self.set_status(status)
        self.finish(html.refusal_page(status, message))

    def layout(self) -> Layout | None:
        """Return the layout that the address asks for; None after it was refused."""
        try:
            return parse_layout(_query(self.request), self.server.plots)
        except ArgumentValueError as error:
            self.refuse(400, str(error))
            return None


class _Page(_Handler):
    """A page of plots; without parameters, the page of contents."""

    def get(self) -> None:
        if not self.request.query:
            self.finish(html.index_page(self.server.plots, self.server.names(), self.server.problem))
        elif layout := self.layout():
            title = _title(layout)
            self.finish(html.live_page(title, html.page_config(layout, self.server.plots, title)))


class _Saved(_Handler):
    """The same page as a file that needs no server."""

    async def get(self) -> None:
        if layout := self.layout():
            self.set_header("Content-Disposition", 'attachment; filename="smartml.html"')
            self.clear_header("Content-Security-Policy")
            self.finish(await self.server.save(layout, _title(layout)))


class _Form(_Handler):
    """Where the form of the page of contents leads: on to the page that it describes."""

    def get(self) -> None:
        self.redirect(html.layout_address(_query(self.request)), status=303)


class _Unknown(_Handler):
    """Any other address."""

    def get(self) -> None:
        self.refuse(404, f"there is nothing at {self.request.path}")


class _Static(StaticFileHandler):
    """Scripts and styles; the browser asks whether they are still the same."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


class _Live(WebSocketHandler):
    """The connection of an open page."""

    def initialize(self, server: PageServer) -> None:
        self.server = server
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._told: str | None = None

    def prepare(self) -> None:
        if not self.server.admits(self.request.host):
            self.set_status(403)
            self.finish(_foreign(self.request.host))

    def open(self, *args: str, **kwargs: str) -> None:
        # Pictures are small, and somebody waits for them.
        self.set_nodelay(True)
        try:
            layout = parse_layout(_query(self.request), self.server.plots)
        except ArgumentValueError:
            # Loaded anew, it says why.
            self.close(_OUTDATED, "there is no such page any more")
            return
        self._session = self.server.open(self, layout)
        self._task = asyncio.create_task(self._run(self._session))
        self.notice()

    async def _run(self, session: Session) -> None:
        try:
            await session.run()
        except WebSocketClosedError:
            logger.debug("a page was closed")
        except Exception:
            logger.exception("a page cannot be drawn")
            self.close(1011, "the server cannot draw this page: its log says why")

    async def send(self, picture: bytes) -> None:
        await self.write_message(picture, binary=True)

    def notice(self) -> None:
        """Tell the page of a problem, or of its end, and let it have what is new."""
        if self._session is None or self.ws_connection is None:
            return
        if self.server.problem != self._told:
            self._told = self.server.problem
            self.write_message(json.dumps({"problem": self._told}))
        self._session.wake()

    def on_message(self, message: str | bytes) -> None:
        if self._session is None:
            return
        try:
            self._session.receive(message)
        except ArgumentValueError as error:
            self.close(_NOT_UNDERSTOOD, str(error)[:100])

    def on_close(self) -> None:
        self.server.forget(self)
        if self._task:
            self._task.cancel()


def _query(request: HTTPServerRequest) -> dict[str, list[str]]:
    """Return the parameters of an address, each with all its values, also empty ones."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True, errors="replace"):
        found.setdefault(name, []).append(value)
    return found


def _title(layout: Layout) -> str:
    return ", ".join(dict.fromkeys(place.plot for place in layout.places))


def _host_of(address: str) -> str:
    """Return the host of host, host:port or a whole origin."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _foreign(host: str) -> str:
    return f"this server does not go by the name {_host_of(host)!r}: start it with `--allow-origin {_host_of(host)}`"


def _log(handler: RequestHandler) -> None:
    logger.debug("%d %s", handler.get_status(), handler.request.uri)


def serve_pages(server: PageServer, started: Callable[[str], object] = lambda address: None) -> None:
    """Serve until SIGINT or SIGTERM comes; only in the main thread of a program."""
    asyncio.run(_serve(server, started))


async def _serve(server: PageServer, started: Callable[[str], object]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.run(stop, started)


def read_address(address: str) -> tuple[str, int]:
    """Return host and port of host:port, or of a port alone, which is this machine's."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ArgumentValueError(
            f"{address!r} is not where pages can be served: write host:port, such as 127.0.0.1:8888"
        )
    return host.strip("[]") or "127.0.0.1", int(port)
