"""The passes of one feed: which one runs, how far it was served, and the random numbers of those to come."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from smartml.feeds.keeping import AnySet
from smartml.feeds.orders import default_sampler
from smartml.feeds.samplers import Batching, FirstOf, InStep, Pass, Sampler, SampleSet, Stateful

logger = logging.getLogger(__name__)


class Passes:
    """One pass after the other over what is held at its beginning."""

    def __init__(self, sampler: Sampler | None, shuffle: bool, batching: Batching, random: np.random.Generator) -> None:
        # A copy of what was handed in, which may be handed to other feeds as well.
        self.sampler = copy.deepcopy(sampler)
        self._shuffle, self._batching, self._random = shuffle, batching, random
        # The running pass, and what it began with: the number from which all its random numbers come, how many samples
        # were held, and how many had arrived.
        self.current: Pass | None = None
        self._seed = 0
        self.samples = 0
        self.arrived = 0
        # Batches that were served of it, by the highest of their numbers; whether it was looked into at all.
        self.served = 0
        self.is_used = False
        # Whether it was begun before this process was, and is to be gone on with.
        self.is_resumed = False

    def begin(self, held: AnySet | None, batches: int | None) -> None:
        """Begin a pass: of as many batches as given, where other replicas serve as many."""
        # Its random numbers are its own, so that what is left unread of a pass changes no later one.
        self._seed = int(self._random.integers(1 << 63))
        self.samples, self.arrived = (0, 0) if held is None else (len(held), held.arrived)
        self.served, self.is_used, self.is_resumed = 0, False, False
        self.current = self._begin(held, batches)

    def _begin(self, held: SampleSet | None, batches: int | None) -> Pass | None:
        own: Pass | None = None
        if held is not None:
            random = np.random.Generator(np.random.PCG64(self._seed))
            own = (self.sampler or default_sampler(self._shuffle)).begin_pass(held, self._batching, random)
        if batches is None:
            return own
        if own is not None and self._batching.drop_last and len(own) < batches:
            logger.warning(
                "%d batches of this replica are served again, to be as many as the others have: some samples of its "
                "share did not fit, or are gone",
                batches - len(own),
            )
        return InStep(own, batches)

    def note_served(self, current: Pass, number: int) -> None:
        """Take note that a batch of a pass was asked for."""
        self.is_used = True
        if current is self.current:
            self.served = max(self.served, number + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return where the running pass is, and the random numbers of those to come, in plain Python types."""
        return {
            "random": self._random.bit_generator.state,
            "seed": self._seed,
            "samples": self.samples,
            "arrived": self.arrived,
            "served": self.served,
            "is_used": self.is_used,
            "sampler": self.sampler.state_dict() if isinstance(self.sampler, Stateful) else None,
            "pass": self.current.state_dict() if isinstance(self.current, Stateful) else None,
            "has_begun": self.current is not None,
        }

    def load_state_dict(self, state: Mapping[str, Any], held: AnySet | None, batches: int | None) -> None:
        """Go on with the pass that another one was in, over the samples that it held."""
        self._random.bit_generator.state = state["random"]
        if state["has_begun"]:
            self._seed, self.samples, self.arrived = state["seed"], state["samples"], state["arrived"]
            self.current = self._begin(None if held is None else FirstOf(held, self.samples), batches)
            self.served = state["served"]
            self.is_used = state["is_used"]
            self.is_resumed = self.is_used and self.current is not None and self.served < len(self.current)
        # Not before the pass has begun, which they had seen as well.
        for resumed, own in ((self.sampler, state["sampler"]), (self.current, state["pass"])):
            if own is not None and isinstance(resumed, Stateful):
                resumed.load_state_dict(own)
