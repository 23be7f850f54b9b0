"""The client: names on one side, a Redis on the other. Method names and meanings are those of SmartRedis."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.store.address import (
    TLS,
    ConnectionSettings,
    addresses_from_environment,
    parse_addresses,
    settings_from_url,
)
from smartml.store.admin_commands import AdminCommands
from smartml.store.credentials import Credentials, credentials_from_environment, read_credentials
from smartml.store.database import Database
from smartml.store.dataset_commands import DatasetCommands
from smartml.store.index import Announcer
from smartml.store.inference import StoredPrograms
from smartml.store.keys import KeyNames, checked_name
from smartml.store.list_commands import ListCommands
from smartml.store.model_commands import ModelCommands
from smartml.store.script_commands import ScriptCommands
from smartml.store.tensor_commands import TensorCommands

logger = logging.getLogger(__name__)


class Client(TensorCommands, DatasetCommands, ListCommands, ModelCommands, ScriptCommands, AdminCommands):
    """A connection to a database of tensors and datasets.

    `Client()` alone finds the database through the environment that an Experiment gives its children: `SSDB` and
    `SR_DB_TYPE` (suffixed with `_<db_identifier>` if one is given), `SSKEYIN` and `SSKEYOUT` for the prefixes,
    `SMARTML_DB_AUTH` (suffixed, too) for the file with the password and certificates. `cluster` None asks the server
    what it is. `credentials`: another such file, or what it would hold; `username` and `password` go without any.

    Usable from several threads, after a fork, and in a `with` statement; pickles as its settings. Raises
    StoreConnectionError when no server answers within `connect_timeout_s`; a command without progress for
    `timeout_s` raises StoreTimeoutError. Slots of a cluster that move, and nodes that are replaced, are followed for as
    long.
    What is put into a database at its memory limit waits for room, with a warning in the log, and raises
    StoreFullError after `full_timeout_s`: a simulation slows down rather than loses a step.
    """

    def __init__(
        self,
        cluster: bool | None = None,
        address: str | Sequence[str] | None = None,
        logger_name: str = "Default",
        *,
        db_identifier: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: TLS | None = None,
        credentials: str | os.PathLike[str] | Credentials | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        full_timeout_s: float = 60.0,
    ) -> None:
        checked_name(logger_name, "logger")
        if db_identifier is not None:
            checked_name(db_identifier, "database")
        if address is None:
            addresses, named_cluster, found = addresses_from_environment(os.environ, db_identifier)
            cluster = named_cluster if cluster is None else cluster
        else:
            texts = [address] if isinstance(address, str) or not isinstance(address, Iterable) else list(address)
            addresses = tuple(server for text in texts for server in parse_addresses(text))
            found = "given as address"
        known = _credentials(credentials, username, password, db_identifier)
        settings = ConnectionSettings(
            addresses,
            found,
            cluster,
            known.username,
            known.password,
            known.tls if tls is None else tls,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            full_timeout_s=full_timeout_s,
        )
        suffix = f"_{db_identifier}" if db_identifier else ""
        keys = KeyNames.from_environment(
            os.environ.get(f"SSKEYIN{suffix}", ""), os.environ.get(f"SSKEYOUT{suffix}", "")
        )
        self._set_up(settings, keys, logger_name)

    def _set_up(self, settings: ConnectionSettings, keys: KeyNames, logger_name: str) -> None:
        self._logger_name = logger_name
        self._keys = keys
        self._database = Database(settings)
        self._announcer = None if self._database.is_cluster else Announcer()
        self._models, self._scripts = (StoredPrograms(self._database, kind) for kind in ("model", "script"))
        logger.debug("%s: connected to %s", logger_name, self._database.address)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        cluster: bool | None = None,
        tls: TLS | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        full_timeout_s: float = 60.0,
    ) -> "Client":
        """Connect to `redis://[user:password@]host:port[/database]`, `rediss://…` (TLS) or `unix:///path`.

        Everything that the URL does not say is as for `Client()`, the file with the password included.
        """
        settings = settings_from_url(url)
        known = _credentials(None, settings.username, settings.password)
        settings = replace(
            settings,
            username=known.username,
            password=known.password,
            cluster=cluster,
            # What is asked for comes first, then the authority that the file names, then those of the system.
            tls=tls if tls is not None else known.tls or settings.tls,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            full_timeout_s=full_timeout_s,
        )
        keys = KeyNames.from_environment(os.environ.get("SSKEYIN", ""), os.environ.get("SSKEYOUT", ""))
        return cls._from_settings(settings, keys, "Default")

    @classmethod
    def _from_settings(cls, settings: ConnectionSettings, keys: KeyNames, logger_name: str) -> "Client":
        client = cls.__new__(cls)
        client._set_up(settings, keys, logger_name)
        return client

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._from_settings, (self._database.settings, self._keys, self._logger_name)

    def __repr__(self) -> str:
        kind = "cluster" if self._database.is_cluster else "single server"
        prefixes = f"reads {self._keys.read_prefix!r}, writes {self._keys.write_prefix!r}"
        return f"Client({self._database.address}, {kind}, {prefixes})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Using the client again opens new ones."""
        self._database.close()

    @property
    def database(self) -> Database:
        """The database under raw keys."""
        return self._database

    # Prefixes

    @property
    def sources(self) -> tuple[str, ...]:
        """The incoming entities, which `SSKEYIN` names."""
        return self._keys.sources

    def set_data_source(self, source_id: str) -> None:
        """Read under the prefix of one of the incoming entities, which `SSKEYIN` names.

        Raises ArgumentValueError that lists them.
        """
        self._keys = self._keys.with_source(source_id)

    def use_tensor_ensemble_prefix(self, use_prefix: bool) -> None:
        """Choose whether tensors are put and read under the prefixes (on at first)."""
        self._keys = replace(self._keys, prefix_tensors=_checked_switch(use_prefix))

    def use_dataset_ensemble_prefix(self, use_prefix: bool) -> None:
        """Choose whether datasets are put and read under the prefixes (on at first)."""
        self._keys = replace(self._keys, prefix_datasets=_checked_switch(use_prefix))

    def use_list_ensemble_prefix(self, use_prefix: bool) -> None:
        """Choose whether aggregation lists are kept and read under the prefixes (on at first)."""
        self._keys = replace(self._keys, prefix_lists=_checked_switch(use_prefix))

    def use_model_ensemble_prefix(self, use_prefix: bool) -> None:
        """Choose whether models and scripts are kept and found under the prefixes (off at first)."""
        self._keys = replace(self._keys, prefix_models=_checked_switch(use_prefix))


def _credentials(
    given: str | os.PathLike[str] | Credentials | None,
    username: str | None,
    password: str | None,
    db_identifier: str | None = None,
) -> Credentials:
    """Return what was given, else what the file holds that the environment names."""
    if given is not None:
        if username is not None or password is not None:
            raise ArgumentValueError("give either credentials, or username and password")
        return given if isinstance(given, Credentials) else read_credentials(given)
    if username is not None or password is not None:
        return Credentials(username, password)
    return credentials_from_environment(os.environ, db_identifier)


def _checked_switch(use_prefix: bool) -> bool:
    if not isinstance(use_prefix, bool):
        raise ArgumentTypeError(f"use_prefix must be bool, not {type(use_prefix).__name__}: {use_prefix!r}")
    return use_prefix
