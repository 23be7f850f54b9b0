"""A server for an application: an address that is taken before anything else, and an end in order."""

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentValueError, ListenError, MissingDependencyError
from smartml.extras import missing

try:
    import uvicorn
except ImportError as error:
    raise MissingDependencyError(missing("uvicorn", "serving over HTTP", "serving")) from error

# As long as clients mostly keep a connection that they do not use; one that is closed earlier costs them an attempt.
_KEEP_ALIVE_S = 75


class Server:
    """Serves an application at an address, which is taken at once; port 0 takes a free one.

    With a certificate and a key (files in PEM format) over HTTPS. Raises ListenError where the address is taken or is
    not of this machine.
    """

    def __init__(
        self,
        app: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        stop_timeout_s: int = 60,
    ) -> None:
        if (certificate_file is None) != (key_file is None):
            raise ArgumentValueError("HTTPS needs both a certificate and its key")
        self._socket = _listen(host, port)
        scheme = "http" if certificate_file is None else "https"
        shown = f"[{host}]" if ":" in host else host
        # Where it answers.
        self.url = f"{scheme}://{shown}:{self._socket.getsockname()[1]}"
        self.is_local = _is_loopback(self._socket)
        try:
            config = uvicorn.Config(
                app,
                ssl_certfile=certificate_file,
                ssl_keyfile=key_file,
                # Logging is the program's.
                log_config=None,
                access_log=False,
                ws="none",
                lifespan="on",
                server_header=False,
                # What stands before it may say who asks; nothing here depends on that.
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=stop_timeout_s,
            )
            config.load()
        except (OSError, ValueError) as error:
            self._socket.close()
            raise ListenError(f"the certificate or its key cannot be used: {error}") from error
        self._server = _Server(config)

    def run(self) -> None:
        """Serve until stopped, or by SIGTERM or SIGINT; whatever was accepted is answered before it returns."""
        # What is there by now stays: to look through all of it for garbage, again and again, takes tenths of a second
        # where a framework is loaded, in which nobody is answered.
        gc.collect()
        gc.freeze()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            gc.unfreeze()
            self._socket.close()

    def stop(self) -> None:
        """End what runs in another thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order by the first signal, at once by a second one, and let the program go on after that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise ArgumentValueError(f"port must be from 0 to 65535, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen at {host!r}: {error.strerror or error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
    except OSError as error:
        made.close()
        raise ListenError(
            f"cannot listen at {host}:{port}: {error.strerror}; take another port, or 0 for a free one"
        ) from error
    return made


def _is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
