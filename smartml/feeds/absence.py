"""What to tell a user whose samples do not come: what was looked for, where, and what is there instead."""

import itertools
from collections.abc import Sequence

from smartml.store import Database
from smartml.store.keys import OWN_PREFIX

# Keys named in one message, of those looked for and of those that are there.
_KEYS_NAMED = 4


def describe_absence(database: Database, keys: Sequence[bytes], producers: Sequence[str]) -> str:
    """Say that these keys were looked for, where, and which similar ones are there."""
    names = [key.decode(errors="replace") for key in keys]
    looked_for = ", ".join(map(repr, names[:_KEYS_NAMED])) or "further entries"
    more = f" and {len(names) - _KEYS_NAMED} more" if len(names) > _KEYS_NAMED else ""
    similar = [name for name in _find_similar(database, names[0], producers) if name not in names] if names else []
    there = (
        f"similar keys there: {', '.join(map(repr, similar[:_KEYS_NAMED]))}" if similar else "nothing similar is there"
    )
    return f"Looked for {looked_for}{more} at {database.address}; {there}"


def _find_similar(database: Database, name: str, producers: Sequence[str]) -> list[str]:
    """List keys that are there and look like what was meant: but for the entity's name first, then by spelling."""
    entities = [f"{producer}." for producer in producers if producer and name.startswith(f"{producer}.")]
    bare_name = name.removeprefix(entities[0]) if entities else name
    pattern = "".join(f"\\{letter}" if letter in r"*?[]^\\" else letter for letter in bare_name).encode()
    found = [
        *itertools.islice(database.scan(pattern), _KEYS_NAMED),
        *itertools.islice(database.scan(b"*." + pattern), _KEYS_NAMED),
        *database.similar_keys(name.encode()),
        *database.similar_keys(bare_name.encode()),
    ]
    return [name for name in dict.fromkeys(found) if not name.startswith(OWN_PREFIX.decode())]
