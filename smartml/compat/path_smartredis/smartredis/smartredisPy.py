"""What lies below SmartRedis's classes: here, these themselves."""

from smartredis.client import Client as PyClient
from smartredis.configoptions import ConfigOptions as PyConfigOptions
from smartredis.dataset import Dataset as PyDataset
from smartredis.error import (
    RedisBadAllocError,
    RedisConnectionError,
    RedisDatabaseError,
    RedisInternalError,
    RedisKeyError,
    RedisReplyError,
    RedisRuntimeError,
    RedisTimeoutError,
)
from smartredis.levels import LLDebug, LLDeveloper, LLInfo, LLQuiet, SRLoggingLevel
from smartredis.logcontext import LogContext as PyLogContext
from smartredis.srobject import SRObject as PySRObject

__all__ = [
    "LLDebug",
    "LLDeveloper",
    "LLInfo",
    "LLQuiet",
    "PyClient",
    "PyConfigOptions",
    "PyDataset",
    "PyLogContext",
    "PySRObject",
    "RedisBadAllocError",
    "RedisConnectionError",
    "RedisDatabaseError",
    "RedisInternalError",
    "RedisKeyError",
    "RedisReplyError",
    "RedisRuntimeError",
    "RedisTimeoutError",
    "SRLoggingLevel",
]
