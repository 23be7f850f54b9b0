"""A run that was never there: something to log, to look at what shows it."""

import math
import time
from collections.abc import Callable

import numpy as np

from smartml.monitor.logger import DataLogger

# Points of the cloud.
_CLOUD = 10_000
_STEPS_AT_ONCE = 10
_PAUSE_S = 0.1


def write_demo(
    scope: str, steps: int, uri: str | None = None, stop: Callable[[], bool] = lambda: False, pause_s: float = _PAUSE_S
) -> int:
    """Log four streams of a made-up run, ten steps at a time; return how many points the server has kept.

    `top_left`: three waves, `middle`: a scalar against a vector, `loss`: scalars, `cloud`: points that turn and grow.
    """
    random = np.random.default_rng(0)
    cloud = random.normal(size=(2, _CLOUD)).astype("float32")
    done = 0
    with DataLogger(scope, grpc_uri=uri, flush_every=1.0) as log:
        log.write_config({"start-time": time.time(), "steps": steps})
        while done < steps and not stop():
            at_once = min(_STEPS_AT_ONCE, steps - done)
            xs = np.arange(done, done + at_once)
            phases = np.array([[0.0], [1.0], [2.0]])
            log.write("top_left", x=xs, y=np.sin(xs / 30 + phases))
            log.write("middle", x=done, y=np.cos(done / 50 + phases))
            for step in range(done, done + at_once):
                log.write("loss", x=step, y=math.exp(-step / 300) + 0.05 * abs(random.normal()))
            angle, scale = done / 500, 1 + done / 2000
            x = scale * (cloud[0] * math.cos(angle) - cloud[1] * math.sin(angle))
            y = scale * (cloud[0] * math.sin(angle) + cloud[1] * math.cos(angle))
            log.write("cloud", x=x, y=y, t=done)
            done += at_once
            if done < steps:
                time.sleep(pause_s)
    return log.counts.sent
