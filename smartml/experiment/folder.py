"""The folder of a database: the names of its files, and what an earlier run has left there."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ArgumentValueError
from smartml.experiment.cluster import Address, Shape, moved_nodes_files, new_nodes_files, read_shape


@dataclass(frozen=True)
class DatabaseFolder:
    """Where the servers of one database run.

    A cluster `orchestrator` has for each node `orchestrator_<i>.conf`, `.out`, `.err` and `.nodes` (who holds which
    slots), and where data is kept `.rdb` or `.aof`; where models were stored, `.inference.log` is of those that run
    them. One server's are the same, but for `orchestrator.conf` and its data `orchestrator.rdb` or `.aof`, and without
    `.nodes`. Beside them `orchestrator.json` says that it runs, and `orchestrator.auth`, with the certificates in
    `orchestrator.tls`, how clients log in. Where a launcher has started the servers, there is also what its commands
    say: `.launch.log` of each node, or `orchestrator.servers.out` and `.err` of all together, and of a batch job its
    script `orchestrator.sh`, `.job.out`, `.job.err` and exit `.codes`.
    """

    path: Path
    identifier: str
    # Made for this run alone, and deleted with it.
    is_temporary: bool = False

    @classmethod
    def make_temporary(cls, identifier: str) -> "DatabaseFolder":
        """Make a folder that nobody else has."""
        return cls(Path(tempfile.mkdtemp(prefix="smartml-")), identifier, is_temporary=True)

    @property
    def record_file(self) -> Path:
        """The record by which the running database is found."""
        return self.path / f"{self.identifier}.json"

    @property
    def auth_file(self) -> Path:
        """What clients have to show, for nobody else to read."""
        return self.path / f"{self.identifier}.auth"

    def output_file(self, index: int, kind: str) -> Path:
        """The output ("out") or error output ("err") of a node."""
        return self.path / f"{self.identifier}_{index}.{kind}"

    def nodes_files(self, shape: Shape, is_kept: bool) -> Sequence[Path | None]:
        """Return where the nodes keep what they know of their cluster: nowhere when there is but one.

        Where no data is kept, not under the name from which a later run would take it.
        """
        if not shape.is_cluster:
            return [None]
        kind = "nodes" if is_kept else "once.nodes"
        return [self.path / f"{name}.{kind}" for name in shape.names(self.identifier)]

    def write_nodes_files(self, shape: Shape, addresses: Sequence[Address], is_kept: bool) -> None:
        """Say who holds which slots: as in the earlier run whose data is kept, else spread evenly.

        Raises ArgumentValueError when the data there is of a database of another shape.
        """
        earlier = self._check_shape(shape) if is_kept else []
        texts = moved_nodes_files(earlier, addresses) if earlier else new_nodes_files(shape, addresses)
        for file, text in zip(self.nodes_files(shape, is_kept), texts, strict=True):
            if file is not None:
                # As a whole: without it the data of this node would be nobody's.
                draft = file.with_name(f".{file.name}")
                draft.write_text(text, encoding="ascii")
                draft.replace(file)

    def remove_stale(self, shape: Shape, is_kept: bool) -> None:
        """Delete what earlier runs have left, but for data, and who of a cluster holds which, where that is kept."""
        endings = (
            "conf",
            "out",
            "err",
            r"\d+\.out",
            r"\d+\.err",
            # Of those that a launcher has started.
            r"(job|servers)\.(\d+\.)?(out|err)",
            r"launch\.(\d+\.)?log",
            r"inference\.log",
            "place",
            "sh",
            r"once\.nodes",
            *(() if is_kept else ("nodes", "rdb")),
        )
        stale = re.compile(rf"{re.escape(self.identifier)}(_\d+)?(-[\d-]+)?\.({'|'.join(endings)})")
        for entry in os.listdir(self.path):
            if stale.fullmatch(entry):
                (self.path / entry).unlink(missing_ok=True)
        shutil.rmtree(self.path / f"{self.identifier}.codes", ignore_errors=True)
        self.record_file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder, with whatever is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _check_shape(self, shape: Shape) -> list[str]:
        """Return the nodes files of an earlier run, none where there are none. Raises ArgumentValueError."""
        files = self._numbered("nodes")
        texts = [file.read_text(encoding="ascii", errors="replace") for file in files]
        try:
            there = read_shape(texts) if texts else None
        except ValueError as error:
            names = ", ".join(file.name for file in files)
            raise ArgumentValueError(
                f"{self.path} holds the data of a cluster that cannot be read ({names}: {error}): restore the files, "
                "or take another path"
            ) from error
        if there is None and self._holds_single_data():
            there = Shape()
        if there is not None and there != shape:
            raise ArgumentValueError(
                f"{self.path} holds the data of {there}, which {shape} cannot take over: "
                f"use db_nodes={there.primaries}, replicas={there.replicas}, or another path"
            )
        return texts

    def _numbered(self, kind: str) -> list[Path]:
        named = re.compile(rf"{re.escape(self.identifier)}_(\d+)\.{kind}")
        found = {int(match[1]): entry for entry in os.listdir(self.path) if (match := named.fullmatch(entry))}
        return [self.path / found[index] for index in sorted(found)]

    def _holds_single_data(self) -> bool:
        # Since Redis 7 the log of writes is several files in a folder of their own, beside their list.
        names = (f"{self.identifier}.rdb", f"{self.identifier}.aof", f"appendonlydir/{self.identifier}.aof.manifest")
        return any((self.path / name).exists() for name in names)
