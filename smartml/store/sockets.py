"""Sockets to a server: TCP or unix, encrypted or not."""

import socket
import ssl
import struct

from smartml.errors import ArgumentValueError
from smartml.store.address import TLS, ServerAddress


def open_socket(address: ServerAddress, context: ssl.SSLContext | None, timeout_s: float) -> socket.socket:
    """Connect within a time. Raises OSError; the socket keeps that timeout until `set_timeout` gives it another."""
    if address.unix_socket is not None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        connected = socket.create_connection((address.host, address.port), timeout_s)
    try:
        if address.unix_socket is not None:
            connected.settimeout(timeout_s)
            connected.connect(address.unix_socket)
        else:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A unix socket does not leave the machine: Redis has no TLS there.
        if context is None or address.unix_socket is not None:
            return connected
        return _encrypted(connected, context, address)
    except BaseException:
        connected.close()
        raise


def _encrypted(connected: socket.socket, context: ssl.SSLContext, address: ServerAddress) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(connected, server_hostname=address.host)
    except TimeoutError as error:
        # So does a Redis without TLS: it waits for the end of what it takes for a command.
        raise TimeoutError("it takes connections, but does not answer in TLS") from error


def set_timeout(connected: socket.socket, timeout_s: float) -> None:
    """Limit how long one send or receive may go without progress."""
    if isinstance(connected, ssl.SSLSocket):
        connected.settimeout(timeout_s)
        return
    # The kernel's own timeouts: Python's would put a poll() before every call and undo MSG_WAITALL.
    connected.settimeout(None)
    timeout = struct.pack("ll", *divmod(max(1, round(timeout_s * 1_000_000)), 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


def tls_context(tls: TLS) -> ssl.SSLContext:
    """Read the files of a TLS setting. Raises ArgumentValueError when one cannot be read or used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except OSError as error:
        raise ArgumentValueError(f"{tls} cannot be used: {error}") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
