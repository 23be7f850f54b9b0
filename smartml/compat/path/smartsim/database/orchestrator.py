"""The database of an experiment."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smartml import experiment as _ours
from smartml.errors import ArgumentValueError, UnsupportedError
from smartsim.entity.entity import TelemetryConfiguration
from smartsim.entity.entityList import EntityList
from smartsim.error.errors import SMARTSIM, SmartSimError, SSUnsupportedError

__all__ = ["Orchestrator"]

logger = logging.getLogger("smartml.compat")

# The record of a running database.
CHECKPOINT = "smartsim_db.dat"

_DATABASE = SMARTSIM.with_rows(
    {
        ArgumentValueError: (SmartSimError, SSUnsupportedError),
        UnsupportedError: (SmartSimError, SSUnsupportedError),
    }
)


class _OfDatabase(TelemetryConfiguration):
    """The telemetry of a database alone, of which there is none."""

    def enable(self) -> None:
        """Say what there is in its place."""
        logger.warning(
            "a database writes no memory.csv and client.csv: its experiment's telemetry.enable() keeps records of all "
            "that runs, and `smartml watch` shows them"
        )


@_DATABASE.speaks
class Orchestrator(_ours.Orchestrator, EntityList):
    __doc__ = _ours.Orchestrator.__doc__

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        port: int = 6379,
        interface: str | Sequence[str] = "lo",
        launcher: str = "local",
        run_command: str = "auto",
        db_nodes: int = 1,
        batch: bool = False,
        hosts: str | Sequence[str] | None = None,
        account: str | None = None,
        time: str | None = None,
        alloc: str | None = None,
        single_cmd: bool = False,
        *,
        threads_per_queue: int | None = None,
        inter_op_threads: int | None = None,
        intra_op_threads: int | None = None,
        db_identifier: str = "orchestrator",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            os.getcwd() if path is None else path,
            port,
            interface,
            launcher,
            db_nodes,
            batch=batch,
            hosts=hosts,
            run_command=run_command,
            account=account,
            time=time,
            alloc=alloc,
            # On this machine there is no other way, and SmartSim's default asks for it.
            single_cmd=single_cmd and launcher != "local",
            db_identifier=db_identifier,
            **{
                # What RedisAI calls a thread of its queue is a worker here: so many runs go on at a time.
                "inference": True if threads_per_queue is None else threads_per_queue,
                "intra_op_threads": intra_op_threads,
                **kwargs,
            },
        )
        if inter_op_threads is not None:
            logger.warning(
                "inter_op_threads=%r has no effect: ask for several workers by threads_per_queue", inter_op_threads
            )

    @property
    def telemetry(self) -> TelemetryConfiguration:
        """Whether the database is observed while it runs: by the records of its experiment, or not."""
        telemetry: TelemetryConfiguration = self.__dict__.setdefault("_telemetry", _OfDatabase())
        return telemetry

    def start(self, default_path: str | os.PathLike[str] | None = None) -> None:
        """Start the database, and name its record `smartsim_db.dat` as well, by which programs find it again."""
        super().start(default_path)
        if self.checkpoint_file is not None:
            record = Path(self.checkpoint_file)
            link = record.with_name(CHECKPOINT)
            link.unlink(missing_ok=True)
            link.symlink_to(record.name)

    @property
    def entities(self) -> Sequence[Any]:
        """The servers, once they are started."""
        return self.nodes

    def __len__(self) -> int:
        return len(self.nodes)
