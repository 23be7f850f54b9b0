"""Models and scripts in a database: kept on every shard, run where the tensors are, errors that say what to do.

A server runs a model on keys of one slot. In a cluster, a copy of each model lies with every row of slots that a node
holds, under a key that hashes there; to be run, tensors are copied to names that do, too, and back.
"""

import bisect
import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from smartml.errors import (
    InferenceError,
    ModelNotFoundError,
    NotFoundError,
    ScriptNotFoundError,
    StoreReplyError,
    StoreTimeoutError,
    TensorModuleError,
    TensorNotFoundError,
)
from smartml.store.address import ServerAddress
from smartml.store.database import Database
from smartml.store.keys import key_text
from smartml.store.similar import nearest_names
from smartml.store.slots import key_slot, slot_tag
from smartml.store.transport import Command, Memory

# Given the key of a copy, returns the command to run there.
CommandFor = Callable[[bytes], Command]
# Given the keys of a copy, of its inputs and of its outputs, returns the command that runs it.
RunCommandFor = Callable[[bytes, Sequence[bytes], Sequence[bytes]], Command]

# A search for models that look like a missing one stops after so many keys, and looks into so many of them.
_KEYS_SEARCHED, _KEYS_JUDGED = 5_000, 20
# So many of them are told.
_SIMILAR_TOLD = 3


class StoredPrograms:
    """Models, or scripts, of one database under keys."""

    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        # "model" or "script": RedisAI's commands and its errors speak of either.
        self._kind = kind

    def store(self, commands: Mapping[bytes, CommandFor]) -> None:
        """Store programs under keys, each on every shard."""
        worded = [command(copy) for key, command in commands.items() for copy in self._copies(key)]
        with self._explained(b""):
            self._database.each(worded)

    def get(self, key: bytes, *words: bytes) -> bytes:
        """Return what a program was made of."""
        with self._explained(key):
            reply = self._database.each([(self._command("GET"), self._first_copy(key), *words)])[0]
        # RedisAI sends large ones in pieces.
        return b"".join(reply) if isinstance(reply, list) else bytes(reply)

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete programs; one that is missing is an error, when all others are gone."""
        with contextlib.ExitStack() as stack:
            for key in reversed(list(keys)):
                stack.callback(self._delete, key)

    def _delete(self, key: bytes) -> None:
        with self._explained(key):
            self._database.each([(self._command("DEL"), copy) for copy in self._copies(key)])

    def exists(self, key: bytes) -> bool:
        """Tell whether something is stored under a key."""
        return self._database.exist([self._first_copy(key)])[0]

    def run(self, key: bytes, inputs: Sequence[bytes], outputs: Sequence[bytes], word: RunCommandFor) -> None:
        """Run a program on tensors; `word(key, inputs, outputs)` returns the command."""
        with self._explained(key, inputs):
            if self._database.is_cluster:
                self._run_beside(key, inputs, outputs, word)
            elif set(inputs) & set(outputs):
                # Twice would be once too often.
                self._check_done(self._database.command_once(key, *word(key, inputs, outputs)))
            else:
                self._check_done(self._database.each([word(key, inputs, outputs)])[0])

    def _run_beside(self, key: bytes, inputs: Sequence[bytes], outputs: Sequence[bytes], word: RunCommandFor) -> None:
        """Run a program on copies of tensors in the slot of one of its own copies."""
        values: list[Any] = self._database.fetch(inputs)
        if None in values:
            raise self._database.not_found(TensorNotFoundError, "tensor", inputs[values.index(None)])
        near, first = self._tag(inputs[0]), slot_tag(self._database.first_slots()[0])
        try:
            made = self._run_at(near, key, values, len(outputs), word)
        except StoreReplyError as error:
            if near == first or not self._is_missing(error):
                raise
            # Slots have moved since it was stored: new rows have begun. The first of all begins where it always did.
            made = self._run_at(first, key, values, len(outputs), word)
        self._database.set_values({output: memoryview(value) for output, value in zip(outputs, made, strict=True)})

    def _run_at(
        self, tag: bytes, key: bytes, values: Sequence[Memory], output_count: int, word: RunCommandFor
    ) -> list[Memory]:
        """Run the copy of a program that a tag belongs to on tensors; return what comes out."""
        # Names of this call alone: another one may use the same tensors at the same time.
        call = secrets.token_hex(8).encode()
        sources = [b"{%b}.%d.%b.TMP" % (tag, number, call) for number in range(len(values))]
        results = [b"{%b}.%d.%b.OUT.TMP" % (tag, number, call) for number in range(output_count)]
        copy = b"{%b}.%b" % (tag, key)
        replies = self._database.commands(
            copy,
            *((b"SET", source, memoryview(value)) for source, value in zip(sources, values, strict=True)),
            word(copy, sources, results),
            *((b"GET", result) for result in results),
            (b"UNLINK", *sources, *results),
        )
        self._check_done(replies[len(sources)])
        return replies[len(sources) + 1 : -1]

    def _check_done(self, reply: Any) -> None:
        # RedisAI says so without an error, and SmartRedis takes it for success.
        if reply == b"TIMEDOUT":
            raise self._too_late("")

    def _too_late(self, words: str) -> StoreTimeoutError:
        return StoreTimeoutError(
            f"the {self._kind} was not run in the time allowed at {self._database.address}; allow more by the client's "
            f"timeout_s, or by SR_MODEL_TIMEOUT (ms) where that is set{words and ': '}{words}"
        )

    def info(self, key: bytes, server: ServerAddress) -> dict[str, str]:
        """Return what a server has noted of the runs of a program; numbers are text, as in SmartRedis."""
        with self._explained(key):
            reply = self._database.each([(b"AI.INFO", self._copy_at(key, server))])[0]
        fields = [key_text(field) if isinstance(field, bytes) else str(field) for field in reply]
        return {**dict(zip(fields[::2], fields[1::2], strict=True)), "key": key_text(key)}

    def forget_info(self, key: bytes, server: ServerAddress) -> None:
        """Let a server begin anew with what it notes of the runs of a program."""
        with self._explained(key):
            self._database.each([(b"AI.INFO", self._copy_at(key, server), b"RESETSTAT")])

    # How models are sent

    def chunk_size(self) -> int:
        """Ask for the size of the pieces that a model is to be sent in."""
        with self._explained(b""):
            return int(
                self._database.ask_server(self._database.server_addresses()[0], "AI.CONFIG", "GET", "MODEL_CHUNK_SIZE")
            )

    def set_chunk_size(self, size: int) -> None:
        """Choose the size of the pieces that models are to be sent in."""
        for address in self._database.server_addresses():
            with self._explained(b""):
                self._database.ask_server(address, "AI.CONFIG", "MODEL_CHUNK_SIZE", str(size))

    # Copies

    def _copies(self, key: bytes) -> list[bytes]:
        """List the keys of all copies of a program."""
        if not self._database.is_cluster:
            return [key]
        return [b"{%b}.%b" % (slot_tag(slot), key) for slot in self._database.first_slots()]

    def _first_copy(self, key: bytes) -> bytes:
        return self._copies(key)[0]

    def _copy_at(self, key: bytes, server: ServerAddress) -> bytes:
        """Return the key of a copy that a server holds."""
        copies = self._copies(key)
        if not self._database.is_cluster:
            return key
        return next((copy for copy in copies if self._database.server_of(copy) == server), copies[0])

    def _tag(self, near: bytes) -> bytes:
        """Return what hashes to the row of slots in which a key lies."""
        slots = self._database.first_slots()
        return slot_tag(slots[max(0, bisect.bisect_right(slots, key_slot(near)) - 1)])

    def _command(self, act: str) -> bytes:
        return f"AI.{self._kind.upper()}{act}".encode()

    # Errors

    @contextlib.contextmanager
    def _explained(self, key: bytes, inputs: Sequence[bytes] | None = None) -> Iterator[None]:
        """Raise, in the place of a refusal, the error that says most about it; with inputs, of a run."""
        try:
            yield
        except StoreReplyError as error:
            words = str(error.__cause__ or error)
            if "unknown command" in words:
                raise TensorModuleError(
                    f"the database at {self._database.address} has not loaded the module that keeps models and "
                    "scripts: an Orchestrator loads it where it was built (smartml module build)"
                ) from error
            is_unknown = words.endswith("cannot find run info for key") and not self.exists(key)
            if is_unknown or self._is_missing(error):
                raise self._missing(key) from error
            if words.startswith("TIMEDOUT"):
                raise self._too_late(words) from error
            if inputs is None or not words.startswith("ERR "):
                raise
            if words.endswith("tensor key is empty or in a different shard"):
                there = self._database.exist(inputs)
                if not all(there):
                    raise self._database.not_found(TensorNotFoundError, "tensor", inputs[there.index(False)]) from error
            raise InferenceError(f"{self._kind} {key_text(key)!r} failed: {words.removeprefix('ERR ')}") from error

    def _is_missing(self, error: StoreReplyError) -> bool:
        """Tell whether a refusal says that there is no such program."""
        return str(error.__cause__ or error).endswith(f"{self._kind} key is empty")

    def _missing(self, key: bytes) -> NotFoundError:
        similar = self._similar(key)
        instead = ", ".join(map(repr, similar)) if similar else "none with a similar name"
        error = ModelNotFoundError if self._kind == "model" else ScriptNotFoundError
        return error(
            f"no {self._kind} under key {key_text(key)!r} at {self._database.address}; similar {self._kind}s: {instead}"
        )

    def _similar(self, key: bytes) -> list[str]:
        """List the programs whose keys come nearest to one, from a bounded search."""
        before = self._first_copy(b"").decode(errors="surrogateescape")
        names = itertools.islice(self._database.scan(b"*"), _KEYS_SEARCHED)
        judged = [name.removeprefix(before) for name in names if name.startswith(before)]
        nearest = nearest_names(key_text(key), judged, _KEYS_JUDGED)
        return list(itertools.islice(filter(self._is_program, nearest), _SIMILAR_TOLD))

    def _is_program(self, name: str) -> bool:
        copy = self._first_copy(name.encode(errors="surrogateescape"))
        try:
            self._database.each([(self._command("GET"), copy, b"META")])
        except StoreReplyError:
            return False
        return True
