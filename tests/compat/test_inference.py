"""Programs that run models and scripts in the database, with SmartRedis's own client and with smartml's."""

from importlib.util import find_spec

import pytest

from smartml.store.module import find_module

pytestmark = [
    pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch (pip install smartml[torch])"),
    pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)"),
]

CLIENTS = [
    "--no-real-smartredis",
    pytest.param(
        "--real-smartredis",
        marks=pytest.mark.skipif(find_spec("smartredis") is None, reason="needs SmartRedis (up to Python 3.11)"),
    ),
]

SOLVER = """
import numpy as np
from smartredis import Client
client = Client(cluster=False)
client.put_tensor("x", np.arange(4, dtype=np.float32).reshape(1, 4))
client.run_model("twice", inputs="x", outputs="y")
client.run_script("sums", "total", inputs=["y"], outputs=["s"])
print(client.get_tensor("y").tolist(), float(client.get_tensor("s")[0]))
"""


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_added_to_a_program_is_run_by_it(program, tmp_path, client):
    (tmp_path / "solver.py").write_text(SOLVER)
    lines = program(
        """
        import io, sys, warnings
        import torch
        from smartsim import Experiment
        from smartsim.entity import DBModel, DBScript
        warnings.simplefilter("ignore")

        class Twice(torch.nn.Module):
            def forward(self, x):
                return 2 * x

        def total(x):
            return x.sum().reshape(1)

        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(Twice()), buffer)
        exp = Experiment("inference")
        db = exp.create_database(port=0, interface="lo", threads_per_queue=1, intra_op_threads=1)
        exp.start(db)
        model = exp.create_model("solver", exp.create_run_settings(sys.executable, "solver.py"))
        model.attach_generator_files(to_copy="solver.py")
        model.add_ml_model("twice", backend="TORCH", model=buffer.getvalue(), device="CPU")
        model.add_function("sums", function=total, device="CPU")
        print([one.name for one in model.db_models], [one.name for one in model.db_scripts])
        exp.start(model)
        print(exp.get_status(model)[0].value, open(model.path + "/solver.out").read().strip())
        exp.stop(db)
        """,
        flags=[client],
        env={"SR_SOCKET_TIMEOUT": "60000", "SR_LOG_FILE": str(tmp_path / "log.txt")},
    )
    assert lines == ["['twice'] ['sums']", "Completed [[0.0, 2.0, 4.0, 6.0]] 12.0"]


def test_programs_catch_what_goes_wrong_with_models(program):
    lines = program(
        """
        from smartredis import Client
        from smartredis.error import RedisReplyError
        from smartsim import Experiment
        from smartsim.error import SSUnsupportedError
        exp = Experiment("x")
        db = exp.create_database(port=0, interface="lo")
        exp.start(db)
        client = Client(False, db.get_address()[0])
        model = exp.create_model("m", exp.create_run_settings("echo"))
        model.add_ml_model("net", "TORCH", model=b"bytes")
        alone = exp.create_model("n", exp.create_run_settings("echo"))
        alone.colocate_db_tcp(port=0)
        checks = [
            (RedisReplyError, lambda: client.run_model("none", "x", "y")),
            (RedisReplyError, lambda: client.get_model("none")),
            (RedisReplyError, lambda: client.get_script("none")),
            (TypeError, lambda: client.set_model("m", b"", "NOTHING")),
            (TypeError, lambda: client.set_function("f", 3)),
            (FileNotFoundError, lambda: client.set_model_from_file("m", "nowhere", "TORCH")),
            (ValueError, lambda: client.set_model_multigpu("m", b"bytes", "TORCH", -1, 1)),
            (ValueError, lambda: model.add_ml_model("m", "TORCH")),
            (ValueError, lambda: model.add_ml_model("m", "TORCH", model=b"bytes", device="TPU")),
            (SSUnsupportedError, lambda: model.add_ml_model("m", "TORCH", model=b"bytes", devices_per_node=2)),
            (SSUnsupportedError, lambda: model.add_ml_model("net", "TORCH", model=b"bytes")),
            (SSUnsupportedError, lambda: alone.add_ml_model("net", "TORCH", model=b"bytes")),
        ]
        for number, (kind, act) in enumerate(checks):
            try:
                act()
            except kind:
                continue
            except Exception as error:
                print(number, kind.__name__, "not", repr(error))
            else:
                print(number, kind.__name__, "not raised")
        exp.stop(db)
        """,
        flags=["--no-real-smartredis"],
    )
    assert lines == []
