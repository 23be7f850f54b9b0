"""All points that a page server knows: one copy, whatever the number of pages that show it."""

from collections import defaultdict

from smartml.monitor.pages.series import Group
from smartml.monitor.records import Block, Update

# Scope, name, index.
Key = tuple[str, str, int]


class Collection:
    """Groups of points by (scope, name, index), in order of first appearance. One thread changes it, others look."""

    def __init__(self) -> None:
        self._groups: dict[Key, Group] = {}
        # Counts changes, so that lookers know whether they missed any.
        self.version = 0

    def apply(self, update: Update) -> None:
        """Take up what is new."""
        # Replaced as a whole, so that who looks at the former ones is not disturbed.
        groups = {} if update.reset else dict(self._groups)
        for scope, name in update.removed:
            groups = {key: group for key, group in groups.items() if key[0] != scope or name not in (None, key[1])}
        for block in update.added:
            _group_of(groups, block).append(block.fields)
        self._groups = groups
        self.version += 1

    @property
    def groups(self) -> dict[Key, Group]:
        """All groups as they are now; the mapping is never changed, groups grow."""
        return self._groups

    def names(self) -> dict[str, dict[str, int]]:
        """Return how many points there are, by scope and name."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for (scope, name, _), group in self._groups.items():
            counts[scope][name] += group.count
        return {scope: dict(names) for scope, names in counts.items()}


def _group_of(groups: dict[Key, Group], block: Block) -> Group:
    key = (block.scope, block.name, block.index)
    if key not in groups:
        groups[key] = Group(list(block.fields))
    return groups[key]
