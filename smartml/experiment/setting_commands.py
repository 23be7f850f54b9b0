"""The settings of a database in Redis's terms: of a running one at once, else when it starts."""

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.node import Node
from smartml.experiment.schedulers.options import count
from smartml.experiment.server import memory_bytes


class SettingCommands:
    """Base of Orchestrator: what it can be told about its servers, before they run and while they do."""

    _nodes: tuple[Node, ...]
    # What was set: in force on the running servers, and for every start of one.
    _settings: dict[str, str]

    def set_db_conf(self, key: str, value: str) -> None:
        """Change a setting of every server, in Redis's terms: of those that run at once, and for each start to come.

        Raises StoreReplyError when a running server refuses; one that is started so does not start.
        """
        if not isinstance(key, str) or not isinstance(value, str):
            raise ArgumentTypeError(f"a setting and its value must be str, got {key!r} and {value!r}")
        if not key or key.split() != [key]:
            raise ArgumentValueError(f"{key!r} is not the name of a setting of Redis")
        for node in self._nodes:
            if node.is_running:
                with node.connection() as client:
                    client.config_set(key, value)
        self._settings[key.lower()] = value

    def enable_checkpoints(self, frequency: int) -> None:
        """Save a snapshot every `frequency` seconds while something changes, and when stopped."""
        self.set_db_conf("save", f"{count('frequency', frequency)} 1")

    def set_max_memory(self, memory: int | str) -> None:
        """Limit the memory of each server for data: bytes, or as Redis writes it ("3gb")."""
        memory_bytes(memory)
        self.set_db_conf("maxmemory", str(memory))

    def set_eviction_strategy(self, strategy: str) -> None:
        """Say what happens when the memory is full, by Redis's names ("noeviction", "allkeys-lru", ...)."""
        self.set_db_conf("maxmemory-policy", strategy)

    def set_max_clients(self, clients: int = 50_000) -> None:
        """Limit the number of connections to each server."""
        self.set_db_conf("maxclients", str(count("clients", clients)))

    def set_max_message_size(self, size: int = 1_073_741_824) -> None:
        """Limit the size of one value, in bytes."""
        self.set_db_conf("proto-max-bulk-len", str(count("size", size)))
