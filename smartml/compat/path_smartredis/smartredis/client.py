"""The client, by SmartRedis's names."""

from typing import Any

from smartml import store as _ours
from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartredis.configoptions import ConfigOptions
from smartredis.dataset import Dataset, known
from smartredis.error import CONNECTING, SMARTREDIS
from smartredis.srobject import SRObject

__all__ = ["Client"]

# How long to try, in seconds: SmartRedis's variable, and the argument of smartml.
_TIMES = {"SR_CONN_TIMEOUT": "connect_timeout_s", "SR_CMD_TIMEOUT": "timeout_s"}


@SMARTREDIS.speaks
class Client(_ours.Client, SRObject):
    """A client of a database, which is found in one of two ways.

    `Client(config_options=None, logger_name="Default")`: by the environment, or by options made of it.
    `Client(cluster, address=None, logger_name="Default")`: at an address, `host:port`, or several with commas between.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        CONNECTING.call(super().__init__)(**_arguments(*args, **kwargs))

    @property
    def _log_name(self) -> str:
        return self._logger_name

    def __str__(self) -> str:
        return repr(self)

    def get_dataset(self, name: str) -> Dataset:
        """Fetch a dataset."""
        return known(super().get_dataset(name))

    def get_datasets_from_list(self, list_name: str) -> list[Dataset]:  # type: ignore[override]
        """Fetch all datasets of an aggregation list."""
        return list(map(known, super().get_datasets_from_list(list_name)))

    def get_dataset_list_range(  # type: ignore[override]
        self, list_name: str, start_index: int, end_index: int
    ) -> list[Dataset]:
        """Fetch some datasets of an aggregation list; the end belongs to them."""
        return list(map(known, super().get_dataset_list_range(list_name, start_index, end_index)))


def _arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of smartml's client."""
    is_by_address = "cluster" in kwargs or "address" in kwargs or (bool(args) and isinstance(args[0], bool))
    names = ("cluster", "address", "logger_name") if is_by_address else ("config_options", "logger_name")
    given = dict(zip(names, args, strict=False))
    unknown = [name for name in kwargs if name not in names or name in given]
    if unknown or len(args) > len(names):
        raise ArgumentTypeError(f"a Client takes {', '.join(names)}: got {args} and {kwargs}")
    given |= kwargs
    options = given.pop("config_options", None)
    if options is None:
        options = ConfigOptions.create_from_environment("")
    if not isinstance(options, ConfigOptions):
        raise ArgumentTypeError(f"config_options must be ConfigOptions, not {type(options).__name__}: {options!r:.80}")
    found: dict[str, Any] = {"db_identifier": options.suffix or None, **given}
    if not is_by_address and options.is_configured("SSDB"):
        found["address"] = options.get_string_option("SSDB")
        if options.is_configured("SR_DB_TYPE"):
            found["cluster"] = options.get_string_option("SR_DB_TYPE").lower() == "clustered"
    for variable, argument in _TIMES.items():
        if options.is_configured(variable):
            found[argument] = options.get_integer_option(variable)
            if found[argument] <= 0:
                raise ArgumentValueError(f"{variable} must be a positive number of seconds: {found[argument]}")
    return found
