"""The loop of an inference worker: take calls, run them, hand back what came out."""

import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from smartml import tensors
from smartml.errors import ArgumentValueError, SmartMLError, StoreConnectionError, StoreReplyError
from smartml.inference.backends import RunModel, RunScript, load_model, load_script
from smartml.inference.calls import COMMAND, Array, Call, CallKind, Result, fit_together, join, read_calls, split
from smartml.inference.values import StoredModel, read_model
from smartml.store.address import ConnectionSettings, parse_addresses
from smartml.store.credentials import Credentials, read_credentials
from smartml.store.pool import ConnectionPool, knock

logger = logging.getLogger(__name__)

# Loaded models that are kept; the one that was not used for longest goes first.
_MODELS_KEPT = 64
# Calls come when they come.
_PATIENCE_S = 10 * 365 * 24 * 3600.0


def settings_for(address: str, auth_file: str | None = None) -> ConnectionSettings:
    """Return how to reach one server, of a cluster or alone. Raises ArgumentValueError and StoreConnectionError."""
    credentials = Credentials() if auth_file is None else read_credentials(auth_file)
    return ConnectionSettings(
        parse_addresses(address)[:1],
        "given as the address",
        cluster=False,
        username=credentials.username,
        password=credentials.password,
        tls=credentials.tls,
        timeout_s=_PATIENCE_S,
    )


class InferenceWorker:
    """Runs models and scripts for one server. Several workers of one server share its calls.

    `settings` name the server. A model is fetched and loaded when it is first called, and when it was stored anew.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._pool, self._connection = knock([ConnectionPool(settings.addresses[0], settings)])
        # Why a model failed the last time: a solver that goes on asking must not fill the log.
        self._failures: dict[bytes, str] = {}
        # By version; in the order in which they were last used.
        self._loaded: OrderedDict[int, RunModel | RunScript] = OrderedDict()

    def close(self) -> None:
        """Close the connection. The server gives this worker's calls to nobody: they fail."""
        self._connection.close()

    def __enter__(self) -> "InferenceWorker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self) -> None:
        """Work until the server ends. Raises StoreReplyError when it wants no worker: it has no module, say."""
        results: list[Result] = []
        while True:
            try:
                calls = self._exchange(results)
            except StoreConnectionError as error:
                logger.info("the database has gone: %s", error)
                return
            results = self._run_all(calls)

    def _exchange(self, results: Sequence[Result]) -> list[Call]:
        words = [word for result in results for word in result.words()]
        (reply,) = self._connection.execute([(COMMAND, *words)], spares_copies=True)
        if isinstance(reply, StoreReplyError):
            raise reply
        return read_calls(reply)

    def _run_all(self, calls: Sequence[Call]) -> list[Result]:
        if not calls:
            return []
        try:
            # The server puts calls of one model together, and no others.
            run = self._find(calls[0])
        except Exception as error:  # noqa: BLE001
            return [self._failure(call, error) for call in calls]
        if calls[0].kind is CallKind.LOAD:
            return [Result(call.id) for call in calls]
        if len(calls) > 1 and fit_together(calls):
            try:
                together = self._run_together(run, calls)
            except Exception as error:  # noqa: BLE001
                # Perhaps one call's fault: which one, shows when they run alone.
                logger.info("%d calls failed together, and run one by one: %s", len(calls), error)
            else:
                if together is not None:
                    return together
        return [self._run_alone(run, call) for call in calls]

    def _run_together(self, run: Any, calls: Sequence[Call]) -> list[Result] | None:
        started = time.perf_counter()
        outputs = split(run(join(calls)), calls)
        if outputs is None:
            return None
        duration_us = _microseconds_since(started)
        return [_result(call, arrays, duration_us) for call, arrays in zip(calls, outputs, strict=True)]

    def _run_alone(self, run: Any, call: Call) -> Result:
        started = time.perf_counter()
        try:
            outputs = run(call.inputs) if call.kind is CallKind.MODEL else run(call)
            return _result(call, outputs, _microseconds_since(started))
        except Exception as error:  # noqa: BLE001
            return self._failure(call, error)

    def _find(self, call: Call) -> RunModel | RunScript:
        """Return what a call runs, loaded."""
        if call.version not in self._loaded:
            stored = self._fetch(call.model)
            load: Callable[[StoredModel], RunModel | RunScript] = load_script if stored.is_script else load_model
            started = time.perf_counter()
            # Kept under the version that was asked for, too: the model may have been stored anew in between.
            self._loaded[call.version] = self._loaded[stored.version] = load(stored)
            seconds = time.perf_counter() - started
            logger.info("loaded %r (%s, %s) in %.3f s", call.model, stored.backend or "script", stored.device, seconds)
            while len(self._loaded) > _MODELS_KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(call.version)
        return self._loaded[call.version]

    def _fetch(self, key: bytes) -> StoredModel:
        (value,) = self._connection.fetch([key])
        if value is None:
            raise ArgumentValueError("the model was deleted before it could be run")
        if isinstance(value, StoreReplyError):
            raise value
        return read_model(value, key.decode(errors="replace"))

    def _failure(self, call: Call, error: Exception) -> Result:
        reason = last_line(error)
        if self._failures.get(call.model) != reason:
            self._failures[call.model] = reason
            logger.warning("%r failed", call.model, exc_info=error)
        return Result(call.id, error=reason)


def _microseconds_since(started: float) -> int:
    return round(1e6 * (time.perf_counter() - started))


def _result(call: Call, outputs: Sequence[Array], duration_us: int) -> Result:
    if len(outputs) != call.output_count:
        raise ArgumentValueError(f"it answers with {len(outputs)} tensors, the call names {call.output_count} outputs")
    # What cannot be stored shows here, and not while it is sent.
    return Result(call.id, tuple(map(tensors.as_tensor, outputs)), duration_us=duration_us)


def last_line(error: Exception) -> str:
    """Return the line of an error's traceback that says what is wrong: the last one, mostly."""
    if isinstance(error, SmartMLError):
        return str(error)
    lines = [line.strip() for line in "".join(traceback.format_exception_only(error)).splitlines() if line.strip()]
    # TorchScript's compiler first says what is wrong, and then shows the place.
    is_place = "<--- HERE" in lines[-1]
    if not is_place:
        return lines[-1]
    kind, _, said = lines[0].partition(":")
    return lines[0] if said.strip() or len(lines) < 2 else f"{kind}: {lines[1]}"
