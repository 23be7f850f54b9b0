"""Administration: information, configuration, saving, flushing."""

from collections.abc import Sequence
from typing import Any

from smartml.errors import ArgumentTypeError
from smartml.store.address import ServerAddress, parse_addresses
from smartml.store.session import Session


class AdminCommands(Session):
    """The part of `Client` that speaks of servers. An address is `host:port` or `unix://path`."""

    def get_db_node_info(self, addresses: Sequence[str]) -> list[dict[str, dict[str, str]]]:
        """Return what `INFO EVERYTHING` says at each address: section, then field, then value."""
        return [
            _parse_info(self._database.ask_server(address, "INFO", "everything")) for address in _parse_all(addresses)
        ]

    def get_db_cluster_info(self, addresses: Sequence[str]) -> list[dict[str, str]]:
        """Return what `CLUSTER INFO` says at each address; StoreReplyError from a server outside a cluster."""
        return [
            _parse_lines(self._database.ask_server(address, "CLUSTER", "INFO")) for address in _parse_all(addresses)
        ]

    def flush_db(self, addresses: Sequence[str]) -> None:
        """Delete every key at each address."""
        for address in _parse_all(addresses):
            self._database.ask_server(address, "FLUSHDB")

    def config_get(self, expression: str, address: str) -> dict[str, str]:
        """Return the configuration parameters that match a pattern such as `max*`."""
        reply = self._database.ask_server(_parse_one(address), "CONFIG", "GET", expression)
        return {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}

    def config_set(self, config_param: str, value: str, address: str) -> None:
        """Set a configuration parameter until the server ends; StoreReplyError says why it would not."""
        self._database.ask_server(_parse_one(address), "CONFIG", "SET", config_param, value)

    def save(self, addresses: Sequence[str]) -> None:
        """Write the database at each address to its disk; blocks until that is done."""
        for address in _parse_all(addresses):
            self._database.ask_server(address, "SAVE")


def _parse_all(addresses: Sequence[str]) -> list[ServerAddress]:
    if isinstance(addresses, str) or not isinstance(addresses, Sequence):
        raise ArgumentTypeError(f"a list of addresses is needed, not {type(addresses).__name__}: {addresses!r:.80}")
    return [_parse_one(address) for address in addresses]


def _parse_one(address: str) -> ServerAddress:
    return parse_addresses(address)[0]


def _parse_info(text: bytes) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.decode().splitlines():
        if line.startswith("#"):
            section = sections.setdefault(line.lstrip("# ").strip(), {})
        elif ":" in line:
            name, _, value = line.partition(":")
            section[name] = value
    return sections


def _parse_lines(text: bytes) -> dict[str, Any]:
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
