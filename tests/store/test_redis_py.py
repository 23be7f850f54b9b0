"""The map from redis-py's errors to ours."""

import inspect

import pytest
import redis

from smartml.errors import StoreConnectionError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, parse_addresses
from smartml.store.redis_py import RedisPy

# One for those who write commands for redis-py, not for those who send them.
INTERNAL = {"IncorrectPolicyType"}
ERRORS = [
    cls
    for name, cls in vars(redis.exceptions).items()
    if inspect.isclass(cls) and issubclass(cls, Exception) and name not in INTERNAL
]


class Raised(RedisPy):
    """A client whose every command fails in one way."""

    def __init__(self, error):
        settings = ConnectionSettings(parse_addresses("127.0.0.1:1"), "somewhere", cluster=False)
        super().__init__(settings, settings.addresses[0])
        self._client = self
        self._error = error

    def execute_command(self, *arguments):
        raise self._error


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_no_error_of_redis_py_comes_through(cls):
    error = cls.__new__(cls)
    Exception.__init__(error, "the reason")

    with pytest.raises((StoreConnectionError, StoreReplyError)) as caught:
        Raised(error).command("GET", b"k")

    assert caught.value.__cause__ is error


def test_a_timeout_is_told_apart_from_a_broken_connection():
    with pytest.raises(StoreTimeoutError, match=r"no answer in the time allowed from the database at 127\.0\.0\.1:1;"):
        Raised(redis.TimeoutError("slow")).command("GET", b"k")
    with pytest.raises(StoreConnectionError, match=r"lost the database at 127\.0\.0\.1:1: gone") as caught:
        Raised(redis.ConnectionError("gone")).command("GET", b"k")
    assert not isinstance(caught.value, StoreTimeoutError)
