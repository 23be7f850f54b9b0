"""Become a server of a database where a run command has put this process: see `places.py`.

Run as `python -m`, once for each server. The server runs in the foreground, in this very process: what the scheduler
started is what it ends.
"""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from smartml.errors import SmartMLError
from smartml.experiment.places import Call, Place, place_file, rank_of, wait_for_configuration
from smartml.experiment.ports import held_port, interface_addresses
from smartml.experiment.server import find_server

# No server: "service unavailable" of sysexits.h.
_NO_SERVER = 69


def main(text: str) -> NoReturn:
    """Tell where this process is, wait to hear what to be, and become it."""
    call = Call.read(text)
    folder = Path(call.folder)
    # Several nodes of Slurm may be one host.
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    try:
        index = rank_of(os.environ) if len(call.names) > 1 else 0
        name = call.names[index]
    except (SmartMLError, IndexError) as error:
        sys.exit(f"no server for this process on {host}: {error}")
    if call.outputs:
        _write_to(*call.outputs[index])
    with contextlib.ExitStack() as held:
        try:
            server = find_server()
            addresses = interface_addresses(call.interface, "any")
            listening = dict.fromkeys([*addresses, "127.0.0.1"])
            port = call.ports[index] or held.enter_context(held_port([*listening], call.is_cluster))
        except (SmartMLError, OSError) as error:
            Place(call.token, host, error=str(error)).write(place_file(folder, name))
            sys.exit(f"no server on {host}: {error}")
        Place(call.token, host, tuple(addresses), port, os.getpid()).write(place_file(folder, name))
        conf = folder / f"{name}.conf"
        if not wait_for_configuration(conf, call.token, call.patience_s):
            sys.stderr.write(f"{conf} has not come within {call.patience_s:g} s: nobody wants the server any more\n")
            sys.exit(_NO_SERVER)
        os.chdir(folder)
        # Python ignores these, and the server would inherit that.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        # With this process's own program the port is let go, for the server to take it.
        os.execv(server, [str(server), conf.name])


def _write_to(out: str, err: str) -> None:
    for descriptor, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    main(sys.argv[1])
