"""Whether this machine can run what SmartSim's programs need; and the tool for looking into a database by hand."""

import shutil
from pathlib import Path

import numpy as np

from smartml.errors import ServerStartError, StoreError
from smartml.experiment import Orchestrator
from smartml.experiment.server import find_server
from smartml.store.module import build_module, find_module


def find_redis_cli() -> Path | None:
    """Return the `redis-cli` that belongs to the server of databases, or another; None where there is none."""
    try:
        beside = find_server().with_name("redis-cli")
    except ServerStartError:
        beside = Path()
    found = shutil.which("redis-cli")
    return beside if beside.is_file() else Path(found) if found else None


def provide_module() -> Path:
    """Return the tensor module, which is built where it is not there. Raises TensorModuleError."""
    return find_module() or build_module()


def validate(port: int | None = None) -> str:
    """Start a database, put a tensor there and get it back; return the words that say so.

    Raises ServerStartError, StoreError.
    """
    with Orchestrator(port=port or 0) as database, database.connect() as client:
        sent = np.arange(6.0).reshape(2, 3)
        client.put_tensor("validation", sent)
        if not np.array_equal(client.get_tensor("validation"), sent):
            raise StoreError(f"a tensor that was put came back different from {database.address}")
        return f"a tensor was put into a database at {database.address}, and came back"
