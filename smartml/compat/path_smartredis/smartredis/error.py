"""The errors of SmartRedis, and which of them an error of smartml is.

RuntimeError
├── RedisConnectionError      by the constructor of a client alone
└── RedisReplyError
    ├── RedisRuntimeError, RedisKeyError, RedisDatabaseError
    └── RedisInternalError, RedisTimeoutError, RedisBadAllocError
"""

from smartml import errors as ours
from smartml.compat.translation import Translation

__all__ = [
    "RedisBadAllocError",
    "RedisConnectionError",
    "RedisDatabaseError",
    "RedisInternalError",
    "RedisKeyError",
    "RedisReplyError",
    "RedisRuntimeError",
    "RedisTimeoutError",
]


class RedisConnectionError(RuntimeError):
    """There is no database at the address."""

    def __init__(self, cpp_error: str = "") -> None:
        super().__init__(cpp_error)


class RedisReplyError(RuntimeError):
    """A command did not do what was asked."""

    def __init__(self, cpp_error: str, method: str = "", key: str = "") -> None:
        super().__init__(f"{method} execution failed\n{cpp_error}" if method else cpp_error)


class RedisRuntimeError(RedisReplyError):
    """The database does not take the command, or not so."""


class RedisBadAllocError(RedisReplyError):
    """The memory does not suffice."""


class RedisDatabaseError(RedisReplyError):
    """The connection to the database broke."""


class RedisInternalError(RedisReplyError):
    """Something went wrong within."""


class RedisTimeoutError(RedisReplyError):
    """The database does not answer in time."""


class RedisKeyError(RedisReplyError):
    """There is nothing of that name."""


# SmartRedis tells by the call which of two a missing thing is; here it is both in every call.
SMARTREDIS = Translation(
    {
        ours.SmartMLError: (RedisRuntimeError,),
        ours.NotFoundError: (RedisKeyError, RedisRuntimeError),
        ours.StoreConnectionError: (RedisDatabaseError,),
        ours.StoreTimeoutError: (RedisTimeoutError, RedisDatabaseError),
        ours.StoreFullError: (RedisBadAllocError, RedisRuntimeError),
    }
)

# Of what makes a client.
CONNECTING = SMARTREDIS.with_rows(
    {
        ours.StoreConnectionError: (RedisConnectionError,),
        ours.StoreTimeoutError: (RedisConnectionError, RedisTimeoutError),
    }
)
