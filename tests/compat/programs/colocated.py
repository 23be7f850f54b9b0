"""Databases of programs' own, on the same node as each, over TCP and over a Unix socket."""

import json
import sys
import tempfile
from pathlib import Path

from smartsim import Experiment

exp = Experiment("colocated", launcher="local", exp_path=str(Path.cwd()))
program = Path(__file__).with_name("with_own_database.py")
folder = tempfile.TemporaryDirectory()


def describe(name):
    """Return a model that runs the program."""
    settings = exp.create_run_settings(sys.executable, exe_args=str(program))
    return exp.create_model(name, settings)


over_tcp = describe("over_tcp")
over_tcp.colocate_db_tcp(port=int(sys.argv[1]), ifname="lo", db_cpus=1, custom_pinning=[], debug=True, maxclients=200)
over_socket = describe("over_socket")
socket = str(Path(folder.name, "own.socket"))
over_socket.colocate_db_uds(unix_socket=socket, socket_permissions=700, db_cpus=1, custom_pinning=[])

exp.start(over_tcp, over_socket, block=True)
facts = [json.loads(Path(model.path, "facts.json").read_text()) for model in (over_tcp, over_socket)]
Path("results.json").write_text(
    json.dumps(
        {
            "facts": facts,
            "socket": socket,
            "colocated": [over_tcp.colocated, over_socket.colocated, describe("alone").colocated],
            "states": [state.value for state in exp.get_status(over_tcp, over_socket)],
            "log": Path(over_tcp.path, "over_tcp-db.log").exists(),
        }
    )
)
folder.cleanup()
