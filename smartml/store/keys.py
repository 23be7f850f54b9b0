"""Which Redis key belongs to which name: prefixes, datasets, lists, and what smartml keeps for itself.

Keys are SmartRedis's, byte by byte (P is the active prefix and a dot, or nothing):

    tensor t                  P t
    dataset d, metadata       P{d}.meta
    dataset d, tensor x       P{d}.x
    aggregation list l        P l            whose entries read P{d}
    smartml's own             .smartml.…  (reserved; nothing is kept there yet)
"""

from dataclasses import dataclass, replace

from smartml.errors import ArgumentTypeError, ArgumentValueError

# Fields of a dataset's metadata hash that are not the user's.
COMPLETE_FIELD = b".COMPLETE"
TENSOR_NAMES_FIELD = b".tensor_names"
# Behind a dataset's entry: the key of its metadata.
METADATA_SUFFIX = b".meta"


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
        return self._prefix(self.prefix_tensors, write) + checked_name(name, "tensor")

    def dataset(self, name: str, *, write: bool = False) -> "DatasetKeys":
        """Keys of a dataset."""
        return DatasetKeys(self._prefix(self.prefix_datasets, write) + b"{" + checked_name(name, "dataset") + b"}")

    def list(self, name: str, *, write: bool = False) -> bytes:
        """Key of an aggregation list."""
        return self._prefix(self.prefix_lists, write) + checked_name(name, "list")

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


def split_entities(text: str) -> tuple[str, ...]:
    """Split the value of `SSKEYIN`."""
    return tuple(part for part in text.split(",") if part)


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
