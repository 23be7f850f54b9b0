"""What stored tensors look like, read from the end of their values without their payloads."""

from collections.abc import Sequence

from smartml.errors import StoreReplyError, TensorFormatError
from smartml.store.database import Database
from smartml.store.foreign import foreign_value
from smartml.store.keys import key_text
from smartml.tensors import FOOTER_SIZE, MAX_DIMENSIONS, TensorDescription, read_description

# The end of a value, of this size, holds all of its description.
LARGEST_DESCRIPTION = 8 * MAX_DIMENSIONS + FOOTER_SIZE


def read_descriptions(database: Database, keys: Sequence[bytes]) -> list[TensorDescription | None]:
    """Read shape and dtype of many tensors in one round trip per server; None where a key does not exist.

    Raises TensorFormatError that names the first key whose value is no tensor, or damaged.
    """
    descriptions: list[TensorDescription | None] = []
    for found in find_descriptions(database, keys):
        if isinstance(found, TensorFormatError):
            raise found
        descriptions.append(found)
    return descriptions


def find_descriptions(database: Database, keys: Sequence[bytes]) -> list[TensorDescription | TensorFormatError | None]:
    """As `read_descriptions`, with the error in the place of what is no tensor."""
    try:
        replies = database.each([command for key in keys for command in _size_and_end(key)])
    except StoreReplyError:
        # One of them holds no string: it has to be found.
        return [_find_alone(database, key) for key in keys]
    return [_found(database, key, size, end) for key, size, end in zip(keys, replies[::2], replies[1::2], strict=True)]


def _found(database: Database, key: bytes, size: int, end: bytes) -> TensorDescription | TensorFormatError | None:
    try:
        return read_description(end, size, key_text(key))
    except TensorFormatError:
        # Missing; or replaced between the two commands; or truly no tensor.
        return _find_alone(database, key)


def _find_alone(database: Database, key: bytes) -> TensorDescription | TensorFormatError | None:
    """Look at one key as it is at one moment."""
    kind = database.commands(key, (b"TYPE", key))[0]
    if kind == b"none":
        return None
    if kind != b"string":
        return foreign_value(key, kind)
    size, end = database.transaction(key, *_size_and_end(key))
    try:
        return read_description(end, size, key_text(key))
    except TensorFormatError as error:
        return error


def _size_and_end(key: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return (b"STRLEN", key), (b"GETRANGE", key, b"-%d" % LARGEST_DESCRIPTION, b"-1")
