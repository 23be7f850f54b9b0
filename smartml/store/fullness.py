"""A database at its memory limit: told apart from other refusals, waited for, described.

A server with a `maxmemory` and the policy `noeviction` answers every command that would take memory with an error that
begins with OOM, and carries none of it out (https://redis.io/docs/latest/develop/reference/eviction/). Commands that
delete still work, as long as they stand alone: within MULTI they are refused as well.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from smartml.errors import StoreError, StoreFullError, StoreReplyError
from smartml.store.address import ServerAddress
from smartml.store.database import Database

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# The words of redis/src/server.c (shared.oomerr); redis-py takes the OOM before them off.
_REFUSAL = "command not allowed when used memory > 'maxmemory'"
# While waiting, the put is tried again at intervals that grow from the first to the second.
_SHORTEST_WAIT_S = 0.01
_LONGEST_WAIT_S = 1.0


# A full server refuses commands that could take memory; in a script only as long as that has not written anything.
# PERSIST, which changes nothing here, is allowed and counts as that (redis/src/script.c, scriptVerifyOOM). A script
# that begins so may change the few bytes by which processes know of each other just when room is needed most.
EVEN_WHEN_FULL = b"redis.call('PERSIST', KEYS[1])\n"

_NOTE = EVEN_WHEN_FULL + b"return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])"


def note_field(database: Database, key: bytes, field: bytes, value: bytes) -> None:
    """Set a field of a hash, also in a full database."""
    database.commands(key, (b"EVAL", _NOTE, b"1", key, field, value))


def is_refused_as_full(error: StoreReplyError) -> bool:
    """Tell whether a server refused a command because its memory is used up."""
    return _REFUSAL in str(error)


def put_when_there_is_room(database: Database, put: Callable[[], Result]) -> Result:
    """Run what puts something, again and again while the database is full, for as long as its settings allow.

    `put` must be harmless to repeat after a refusal. Raises StoreFullError when there was no room in that time.
    """
    allowed_s = database.settings.full_timeout_s
    began, pause_s = time.monotonic(), _SHORTEST_WAIT_S
    is_first = True
    while True:
        try:
            return put()
        except StoreReplyError as error:
            if not is_refused_as_full(error):
                raise
            waited_s = time.monotonic() - began
            if waited_s >= allowed_s:
                raise StoreFullError(
                    f"the database is full: {describe_memory(database)}, and no room came within {allowed_s:g} s. "
                    "Let trainers delete what they have read (delete_after), limit what producers put ahead of them "
                    f"(max_pending), delete what nobody needs, or raise maxmemory. {error}"
                ) from error
            if is_first:
                is_first = False
                logger.warning("%s: waiting up to %g s for room", describe_memory(database), allowed_s)
        time.sleep(min(pause_s, allowed_s - waited_s))
        pause_s = min(1.5 * pause_s, _LONGEST_WAIT_S)


def describe_memory(database: Database) -> str:
    """Say how much memory each server uses, and how much it may."""
    return " and ".join(_describe_server(database, address) for address in database.server_addresses())


def _describe_server(database: Database, address: ServerAddress) -> str:
    # Who may not ask, or finds nobody to ask, gets the error that brought us here all the same.
    with contextlib.suppress(StoreError):
        lines = database.ask_server(address, "INFO", "memory").decode().splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        used, limit = int(values["used_memory"]), int(values["maxmemory"])
        return f"{address} uses {used / 1e6:.1f} MB of {limit / 1e6:.1f} MB"
    return f"{address} does not tell how much memory it uses"
