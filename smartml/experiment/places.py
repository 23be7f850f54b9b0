"""Servers on hosts that only their run command knows: how one tells where it is, and is told what to be.

A run command puts `placed_start.py` on a host. What passes between that and the script lies in the folder of the
database, which all hosts share:

    <name>.place   written on the host: its addresses, the port that it holds, its process; or why it cannot
    <name>.conf    written by the script once all places are known: the server's configuration, with whose arrival the
                   waiting process becomes the server; its first line has the token
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ServerStartError

# What MPIs and schedulers call the index of a process. Slurm's last: in a batch script it is that of the script, too.
_RANK_VARIABLES = (
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "PALS_RANKID",
    "ALPS_APP_PE",
    "JSM_NAMESPACE_RANK",
    "SLURM_PROCID",
)

# Between two looks into a folder that may lie on another machine.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.25


@dataclass(frozen=True)
class Call:
    """What a run command takes to a host, as JSON: which servers it starts, and what they shall listen on."""

    # Those that one command starts; its processes take them by their ranks.
    names: tuple[str, ...]
    folder: str
    # Tells this start from others in the same folder.
    token: str
    interface: tuple[str, ...]
    # Of each name; 0 for any that is free there.
    ports: tuple[int, ...]
    is_cluster: bool
    # The files that each writes to; none where the run command has seen to that.
    outputs: tuple[tuple[str, str], ...]
    # How long to wait for the configuration.
    patience_s: float

    def text(self) -> str:
        """Return it as a word of a command line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> "Call":
        """Read what `text` has written."""
        fields = json.loads(text)
        for name in ("names", "interface", "ports"):
            fields[name] = tuple(fields[name])
        fields["outputs"] = tuple((out, err) for out, err in fields["outputs"])
        return cls(**fields)


@dataclass(frozen=True)
class Place:
    """Where a server is about to run."""

    token: str
    # The name of the host, for messages.
    host: str = ""
    # The first one is handed out.
    addresses: tuple[str, ...] = ()
    port: int = 0
    # The process that becomes the server.
    pid: int = 0
    # Why there is no place after all.
    error: str = ""

    def write(self, file: Path) -> None:
        """Write the file as a whole: a reader sees all of it, or nothing."""
        draft = file.with_name(f".{file.name}.{self.host}.{os.getpid()}")
        draft.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        draft.replace(file)

    @classmethod
    def read(cls, file: Path, token: str) -> "Place | None":
        """Read the place of a server of this start, None as long as there is none."""
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        place = cls(**{**fields, "addresses": tuple(fields["addresses"])})
        return place if place.token == token else None


def place_file(folder: Path, name: str) -> Path:
    """Return where a server tells of its place."""
    return folder / f"{name}.place"


def first_line(token: str) -> str:
    """Return the line by which a configuration is known to be that of this start."""
    return f"# {token}\n"


def rank_of(environment: Mapping[str, str]) -> int:
    """Return the index of this process among those of its run command. Raises ServerStartError."""
    for name in _RANK_VARIABLES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    raise ServerStartError(
        f"the run command does not tell its processes their ranks (none of {', '.join(_RANK_VARIABLES)} is set): use "
        "another one, or single_cmd=False"
    )


def wait_for_places(
    folder: Path, names: Sequence[str], token: str, check: Callable[[str], None], timeout_s: Callable[[], float]
) -> list[Place]:
    """Return the place of each server, once all are known. Raises ServerStartError where one cannot be had.

    check: called again and again with a server that has none yet; raises where none will come. timeout_s: returns how
    long to wait from now on.
    """
    found: dict[str, Place] = {}
    delay_s = _FIRST_LOOK_S
    while True:
        for name in names:
            if name not in found and (place := Place.read(place_file(folder, name), token)):
                if place.error:
                    raise ServerStartError(f"the database server {name} cannot run on {place.host}: {place.error}")
                found[name] = place
        missing = [name for name in names if name not in found]
        if not missing:
            return [found[name] for name in names]
        for name in missing:
            check(name)
        if timeout_s() <= 0:
            there = ", ".join(f"{name} on {place.host}" for name, place in found.items()) or "none"
            raise ServerStartError(
                f"no host was found in time for {', '.join(missing)} (there is: {there}); see what the run command "
                f"says in {folder}, or give it longer by startup_timeout_s"
            )
        time.sleep(delay_s)
        delay_s = min(1.5 * delay_s, _LONGEST_LOOK_S)


def wait_for_configuration(file: Path, token: str, patience_s: float) -> bool:
    """Wait for the configuration of this start; return False when none has come in time."""
    deadline = time.monotonic() + patience_s
    delay_s = _FIRST_LOOK_S
    while time.monotonic() < deadline:
        try:
            with open(file, encoding="utf-8") as opened:
                if opened.readline() == first_line(token):
                    return True
        except FileNotFoundError:
            pass
        time.sleep(delay_s)
        delay_s = min(1.5 * delay_s, _LONGEST_LOOK_S)
    return False
