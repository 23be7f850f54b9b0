"""Administration: information, configuration, saving, flushing."""

from collections.abc import Sequence

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.store.address import ServerAddress, parse_addresses
from smartml.store.keys import key_text
from smartml.store.session import Session


class AdminCommands(Session):
    """The part of `Client` that speaks of servers.

    An address is `host:port` or `unix://path`, of a server of this database: ArgumentValueError lists them.
    """

    def get_db_node_info(self, addresses: Sequence[str]) -> list[dict[str, dict[str, str]]]:
        """Return what `INFO EVERYTHING` says at each address: section, then field, then value."""
        return [_parse_info(self._database.ask_server(at, "INFO", "everything")) for at in self._servers(addresses)]

    def get_db_cluster_info(self, addresses: Sequence[str]) -> list[dict[str, str]]:
        """Return what `CLUSTER INFO` says at each address; StoreReplyError from a server outside a cluster."""
        return [_parse_lines(self._database.ask_server(at, "CLUSTER", "INFO")) for at in self._servers(addresses)]

    def get_ai_info(self, address: Sequence[str], key: str, reset_stat: bool = False) -> list[dict[str, str]]:
        """Return what `AI.INFO` says at each address of the runs of a model or script, and then forget it if asked to.

        Numbers are text, `duration` in microseconds. Raises ModelNotFoundError.
        """
        servers, program = self._servers(address), self._keys.model(key)
        found = [self._models.info(program, server) for server in servers]
        if reset_stat:
            for server in servers:
                self._models.forget_info(program, server)
        return found

    def flush_db(self, addresses: Sequence[str]) -> None:
        """Delete every key at each address."""
        for address in self._servers(addresses):
            self._database.ask_server(address, "FLUSHDB", idempotent=False)

    def config_get(self, expression: str, address: str) -> dict[str, str]:
        """Return the configuration parameters that match a pattern such as `max*`."""
        _check_text("expression", expression)
        reply = self._database.ask_server(self._server(address), "CONFIG", "GET", expression)
        return {key_text(name): key_text(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}

    def config_set(self, config_param: str, value: str, address: str) -> None:
        """Set a configuration parameter until the server ends; StoreReplyError says why it would not."""
        _check_text("config_param", config_param)
        _check_text("value", value)
        self._database.ask_server(self._server(address), "CONFIG", "SET", config_param, value)

    def save(self, addresses: Sequence[str]) -> None:
        """Write the database at each address to its disk; blocks until that is done."""
        for address in self._servers(addresses):
            self._database.ask_server(address, "SAVE")

    def _servers(self, addresses: Sequence[str]) -> list[ServerAddress]:
        if isinstance(addresses, str) or not isinstance(addresses, Sequence):
            raise ArgumentTypeError(f"a list of addresses is needed, not {type(addresses).__name__}: {addresses!r:.80}")
        return [self._server(address) for address in addresses]

    def _server(self, address: str) -> ServerAddress:
        """Return one of this database's servers: flushing another one would be a mistake."""
        parsed = parse_addresses(address)
        known = dict.fromkeys([*self._database.settings.addresses, *self._database.server_addresses()])
        if len(parsed) != 1 or parsed[0] not in known:
            raise ArgumentValueError(
                f"{address!r} is no server of this database; its servers are: {', '.join(map(str, known))}"
            )
        return parsed[0]


def _check_text(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} must be str, not {type(value).__name__}: {value!r:.80}")


def _parse_info(text: bytes) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in key_text(text).splitlines():
        if line.startswith("#"):
            section = sections.setdefault(line.lstrip("# ").strip(), {})
        elif ":" in line:
            name, _, value = line.partition(":")
            section[name] = value
    return sections


def _parse_lines(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in key_text(text).splitlines())
    return {name: value for name, colon, value in lines if colon}
