"""Which Redis key belongs to which name: prefixes, datasets, lists, and what smartml keeps for itself.

Keys are SmartRedis's, byte by byte (P is the active prefix and a dot, or nothing):

    tensor t                  P t
    dataset d, metadata       P{d}.meta
    dataset d, tensor x       P{d}.x
    aggregation list l        P l            whose entries read P{d}
    model or script m         P m            and for one of several GPUs P m.GPU:<i>; in a cluster {h}.P m for every
                                             row of slots that a node holds, h being a text of the first one's slot

What smartml keeps for itself begins with `.smartml.`:

    .smartml.entities                               a hash: the state of every entity of an experiment (entities.py)
    .smartml.consumers                              a hash: the programs of an experiment that have feeds
    .smartml.uploaders.<P l>                        a hash: the uploaders of an aggregation list, open or closed
                                                    (feeds/presence.py)
    .smartml.consumption.keys.<P prefix[_rank]_*>   a string, JSON: which iterations of this row of tensors which groups
                                                    of trainers have acknowledged, which are gone; the star stands for
                                                    the iteration (`delete_after`)
    .smartml.consumption.list.<P l>                 the same for the entries of an aggregation list (`delete_after`,
                                                    `max_pending`)
    .smartml.found.<group>.<stream>                 a list: which batches the replicas of a trainer have found, and
    .smartml.epochs.<group>.<stream>                a list: of which of them each epoch consists (feeds/snapshots.py)
    .smartml.samples.<prefix>                       a sorted set: the keys of a RedisStore, in their order
    .smartml.rate.<l>                               a hash of counters: `put`; `used <group>` and `needed <group>` for
                                                    every group (`samples_per_insert`)
    .smartml.index.<P stem>                         a string: which tensors of the names `<stem>_<a>_<b>` were put
                                                    (store/index.py)
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from smartml.errors import ArgumentTypeError, ArgumentValueError

# Fields of a dataset's metadata hash that are not the user's.
COMPLETE_FIELD = b".COMPLETE"
TENSOR_NAMES_FIELD = b".tensor_names"
# Behind a dataset's entry: the key of its metadata.
METADATA_SUFFIX = b".meta"
# Where an experiment notes the states of its entities.
ENTITIES_KEY = b".smartml.entities"
# Where the programs with feeds are noted.
CONSUMERS_KEY = b".smartml.consumers"
# What begins so is smartml's own.
OWN_PREFIX = b".smartml."


@dataclass(frozen=True)
class KeyNames:
    """Turns names into keys. Reading uses the read prefix, writing the write prefix."""

    read_prefix: str = ""
    write_prefix: str = ""
    # The prefixes that may become the read prefix: what SSKEYIN names.
    sources: tuple[str, ...] = ()
    prefix_tensors: bool = True
    prefix_datasets: bool = True
    prefix_lists: bool = True
    # Models and scripts: mostly all programs share them.
    prefix_models: bool = False

    @classmethod
    def from_environment(cls, incoming: str, outgoing: str) -> "KeyNames":
        """Read the values of `SSKEYIN` (comma separated; the first is active) and `SSKEYOUT`."""
        sources = split_entities(incoming)
        return cls(sources[0] if sources else "", outgoing, sources)

    def with_source(self, source: str) -> "KeyNames":
        """Read under another one of the incoming entities."""
        if source not in self.sources:
            known = ", ".join(self.sources) or "none (SSKEYIN is not set)"
            raise ArgumentValueError(f"{source!r} is not an incoming entity; known are: {known}")
        return replace(self, read_prefix=source)

    def tensor(self, name: str, *, write: bool = False) -> bytes:
        """Key of a tensor."""
        return self._tensor_prefixes[write] + checked_name(name, "tensor")

    def tensors(self, names: Sequence[str], *, write: bool = False) -> Sequence[bytes]:
        """Keys of many tensors; costs half of asking for each."""
        prefix = self._tensor_prefixes[write]
        if set(map(type, names)) == {str} and "" not in names:
            with contextlib.suppress(UnicodeEncodeError):
                return [prefix + name.encode() for name in names]
        # One of them cannot be a name, or is of a type of its own: this says which.
        return [self.tensor(name, write=write) for name in names]

    def dataset(self, name: str, *, write: bool = False) -> "DatasetKeys":
        """Keys of a dataset."""
        return DatasetKeys(self._prefix(self.prefix_datasets, write) + b"{" + checked_name(name, "dataset") + b"}")

    def list(self, name: str, *, write: bool = False) -> bytes:
        """Key of an aggregation list."""
        return self._prefix(self.prefix_lists, write) + checked_name(name, "list")

    def model(self, name: str, *, write: bool = False) -> bytes:
        """Key of a model or a script; that of each of its copies in a cluster ends so."""
        return self._prefix(self.prefix_models, write) + checked_name(name, "model or script")

    # Made once: it is part of every put and get.
    @cached_property
    def _tensor_prefixes(self) -> tuple[bytes, bytes]:
        """What stands before the names of tensors that are read, and of those that are written."""
        return self._prefix(self.prefix_tensors, write=False), self._prefix(self.prefix_tensors, write=True)

    def _prefix(self, used: bool, write: bool) -> bytes:
        prefix = self.write_prefix if write else self.read_prefix
        # As os.fsencode: an environment variable may hold bytes that are no text.
        return f"{prefix}.".encode(errors="surrogateescape") if used and prefix else b""


@dataclass(frozen=True)
class DatasetKeys:
    """The keys of one dataset; `entry` is how an aggregation list names it."""

    entry: bytes

    @property
    def metadata(self) -> bytes:
        return self.entry + METADATA_SUFFIX

    def tensor(self, name: str) -> bytes:
        return self.entry + b"." + checked_name(name, "tensor")

    @property
    def name(self) -> str:
        """The dataset's name: what stands between the first and the last brace."""
        start, end = self.entry.find(b"{"), self.entry.rfind(b"}")
        if start < 0 or end < start:
            raise ArgumentValueError(f"{self.entry!r} is not an entry of an aggregation list: no {{name}} in it")
        return self.entry[start + 1 : end].decode(errors="replace")


def consumption_key(kind: Literal["keys", "list"], source: bytes) -> bytes:
    """Key of the record of what of a source was consumed."""
    return OWN_PREFIX + b"consumption." + kind.encode() + b"." + source


def found_key(replicas: str) -> bytes:
    """Key of the batches that a group of replicas has found."""
    return OWN_PREFIX + b"found." + encoded_text(replicas, "the name of a group of replicas")


def epochs_key(replicas: str) -> bytes:
    """Key of the epochs that a group of replicas has begun."""
    return OWN_PREFIX + b"epochs." + encoded_text(replicas, "the name of a group of replicas")


def uploaders_key(list_key: bytes) -> bytes:
    """Key of what is known of the uploaders of a list."""
    return OWN_PREFIX + b"uploaders." + list_key


def rate_key(list_name: str) -> bytes:
    """Key of the counters by which producers and trainers of a list keep step."""
    return OWN_PREFIX + b"rate." + list_name.encode()


def index_key(stem: bytes) -> bytes:
    """Key of the index of a stem."""
    return OWN_PREFIX + b"index." + stem


def split_entities(text: str) -> tuple[str, ...]:
    """Split the value of `SSKEYIN`."""
    return tuple(part for part in text.split(",") if part)


def key_text(key: bytes) -> str:
    """Return a key, or other bytes that a server has sent, as people read it."""
    return key.decode(errors="replace")


def checked_name(name: str, kind: str) -> bytes:
    """Return the bytes of a name, or say what is wrong with it."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the name of a {kind} must be str, not {type(name).__name__}: {name!r:.80}")
    if not name:
        raise ArgumentValueError(f"the name of a {kind} must not be empty")
    try:
        return name.encode()
    except UnicodeEncodeError:
        return encoded_text(name, f"the name of a {kind}")


def encoded_text(text: str, what: str) -> bytes:
    """Return text as UTF-8; raises ArgumentValueError for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentValueError(f"{what} must be Unicode text, not {text!r:.80}: {error.reason}") from error
