"""Models and scripts that run inside a database: the worker that runs them for the server.

Clients of any language store a model in the database and have it run on tensors there (SmartRedis's `set_model` and
`run_model`). The server hands each call to a worker, a process of this package, and the client waits until the outputs
are written. `values.py` knows the bytes of a stored model, `calls.py` those of calls and results, one file each a
framework, `worker.py` the loop.
"""

from smartml.inference.worker import InferenceWorker, settings_for

__all__ = ["InferenceWorker", "settings_for"]
