"""Steps of the pipeline as a function: one item goes in, and one comes out."""

import copy
from typing import Any

from smartml.errors import ArgumentValueError, FeedError
from smartml.pipeline import Composable


class Stepwise:
    """A function of one item, made of a chain that begins with `Composable()` where others have their source.

    Each item is a stream of its own, with all that a pass of the chain begins: threads, too, if it has an `async_map`.
    Raises FeedError when anything but one item comes out.
    """

    def __init__(self, chain: Composable) -> None:
        _check_open(chain)
        self._chain = chain

    def __call__(self, item: Any) -> Any:
        """Run the steps on an item."""
        made = list(_reading(self._chain, [item]))
        if len(made) != 1:
            raise FeedError(
                f"the steps of a transform made {len(made)} items of one, where one is needed: to filter, batch or "
                "take apart, use feed.stream()"
            )
        return made[0]


def _check_open(step: Composable) -> None:
    while isinstance(step.source, Composable):
        step = step.source
    if type(step) is not Composable or step.source is not None:
        raise ArgumentValueError(
            f"the steps of a transform begin with Composable(), not with a source of their own: {type(step).__name__}"
        )


def _reading(step: Composable, items: list[Any]) -> Any:
    """Return a copy of the chain that reads these items, or just them where it is only beginning."""
    if type(step) is Composable:
        return items
    return copy.copy(step).source_(_reading(step.source, items))
