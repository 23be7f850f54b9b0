"""Where a client finds its database, and how long it waits: variables of the environment, or what is put over them."""

import os

from smartml.errors import ArgumentTypeError, ArgumentValueError, NotFoundError
from smartredis.error import SMARTREDIS, RedisRuntimeError

__all__ = ["ConfigOptions"]


@SMARTREDIS.speaks
class ConfigOptions:
    """Options of a database by their names, which in the environment end in `_<suffix>`."""

    def __init__(self) -> None:
        self._suffix: str | None = None
        self._integers: dict[str, int] = {}
        self._strings: dict[str, str] = {}

    @classmethod
    def create_from_environment(cls, db_suffix: str) -> "ConfigOptions":
        """Return the options of the database of that identifier; "" for the one without."""
        made = cls()
        made._suffix = _text("db_suffix", db_suffix)
        return made

    @staticmethod
    def from_pybind(configoptions: "ConfigOptions") -> "ConfigOptions":
        """Return what lies below another, which is that itself."""
        return configoptions

    def get_data(self) -> "ConfigOptions":
        """Return what lies below: itself."""
        return self

    def set_configoptions(self, configoptions: "ConfigOptions") -> None:
        """Take over the options of another."""
        self.__dict__.update(configoptions.__dict__)

    @property
    def suffix(self) -> str:
        """The identifier of the database."""
        if self._suffix is None:
            raise RedisRuntimeError("these options are of no database: make them by create_from_environment")
        return self._suffix

    def get_integer_option(self, option_name: str) -> int:
        """Return an option as a number."""
        if (name := self._variable(option_name)) and option_name in self._integers:
            return self._integers[option_name]
        text = self._found(name)
        try:
            return int(text)
        except ValueError:
            raise ArgumentValueError(f"the environment variable {name} is no whole number: {text!r}") from None

    def get_string_option(self, option_name: str) -> str:
        """Return an option as it is."""
        if (name := self._variable(option_name)) and option_name in self._strings:
            return self._strings[option_name]
        return self._found(name)

    def is_configured(self, option_name: str) -> bool:
        """Tell whether an option has a value."""
        name = self._variable(option_name)
        return option_name in self._integers or option_name in self._strings or bool(os.environ.get(name))

    def override_integer_option(self, option_name: str, value: int) -> None:
        """Put a number over what the environment says."""
        self._variable(option_name)
        if not isinstance(value, int):
            raise ArgumentTypeError(f"value must be int, not {type(value).__name__}: {value!r:.80}")
        self._integers[option_name] = value

    def override_string_option(self, option_name: str, value: str) -> None:
        """Put a text over what the environment says."""
        self._variable(option_name)
        self._strings[option_name] = _text("value", value)

    def _variable(self, option_name: str) -> str:
        name = _text("option_name", option_name)
        return f"{name}_{self.suffix}" if self.suffix else name

    def _found(self, variable: str) -> str:
        if not (value := os.environ.get(variable)):
            raise NotFoundError(f"the environment variable {variable} is not set")
        return value


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} must be str, not {type(value).__name__}: {value!r:.80}")
    return value
