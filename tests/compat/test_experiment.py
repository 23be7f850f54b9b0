"""Drivers of SmartSim: what they start, what they read, what they catch."""

from importlib.util import find_spec

import pytest


def test_a_driver_runs_models_and_reads_their_output_and_state(program):
    lines = program(
        """
        import sys
        from smartsim import Experiment
        from smartsim.entity import Model, Ensemble
        from smartsim.status import SmartSimStatus
        exp = Experiment("getting-started", launcher="local")
        settings = exp.create_run_settings(exe="echo", exe_args="Hello World")
        good = exp.create_model("good", settings)
        bad = exp.create_model("bad", exp.create_run_settings(sys.executable, ["-c", "raise SystemExit(3)"]))
        sweep = exp.create_ensemble("sweep", {"a": [1, 2], "b": [3]}, run_settings=settings, perm_strategy="all_perm")
        exp.generate(good, bad, sweep, overwrite=True)
        print(exp.get_status(good)[0].value)
        exp.start(good, bad, sweep, block=True, summary=True)
        print([status.value for status in exp.get_status(sweep, bad, good)])
        print(open(good.path + "/good.out").read().strip(), exp.finished(good))
        print(isinstance(good, Model), isinstance(sweep, Ensemble), [type(member) is Model for member in sweep])
        print(exp.get_status(good) == [SmartSimStatus.STATUS_COMPLETED], exp.get_status(good)[0] == "Completed")
        print([word.strip() for word in exp.summary().splitlines()[0].split("|")][2:5], exp.preview(good), str(exp))
        """
    )
    assert [line for line in lines if " ERROR " not in line] == [
        "NeverStarted",
        # Models before ensembles, whatever the order of the arguments.
        "['Failed', 'Completed', 'Completed', 'Completed']",
        "Hello World True",
        "True True [True, True]",
        "True True",
        "['Name', 'Entity-Type', 'JobID'] None getting-started",
    ]


def test_a_database_is_handed_to_programs_and_found_again_by_its_checkpoint(program, tmp_path):
    (tmp_path / "put.py").write_text(
        "import numpy as np; from smartredis import Client\nClient(cluster=False).put_tensor('field', np.arange(4.0))\n"
    )
    lines = program(
        """
        import os, sys
        from smartredis import Client
        from smartsim import Experiment
        exp = Experiment("online")
        db = exp.create_database(port=0, interface="lo")
        exp.generate(db)
        exp.start(db)
        [address] = db.get_address()
        put = exp.create_model("put", exp.create_run_settings(sys.executable, "put.py"), enable_key_prefixing=True)
        put.attach_generator_files(to_copy="put.py")
        exp.start(put)
        print(exp.get_status(put)[0].value, exp.db_identifiers, db.is_active(), len(db), db.num_shards)
        print(Client(cluster=False, address=address).get_tensor("put.field"))
        other = Experiment("other")
        found = other.reconnect_orchestrator(os.path.join("online", "orchestrator", "smartsim_db.dat"))
        print(found.get_address() == [address], type(found) is type(db))
        exp.stop(db)
        print(exp.get_status(db)[0].value)
        try:
            other.reconnect_orchestrator(os.path.join("online", "orchestrator", "smartsim_db.dat"))
        except FileNotFoundError as error:
            print("gone")
        """,
        flags=["--no-real-smartredis"],
    )
    assert lines == [
        "Completed {'orchestrator'} True 1 1",
        "[0. 1. 2. 3.]",
        "True True",
        "Cancelled",
        "gone",
    ]


def test_programs_catch_what_they_caught(program):
    lines = program(
        """
        from smartsim import Experiment
        from smartsim.database import Orchestrator
        from smartsim.entity import Ensemble, Model
        from smartsim.error import *
        from smartsim.error import errors
        from smartsim.settings import *
        from smartsim.settings.settings import create_batch_settings, create_run_settings
        exp = Experiment("x")
        echo = exp.create_run_settings("echo")
        model = exp.create_model("a", echo)
        reader = exp.create_model("reader", echo)
        reader.register_incoming_entity(model)
        members = exp.create_ensemble("e", run_settings=echo, replicas=2)
        database = exp.create_database(port=0, interface="lo")
        same = exp.create_database(port=0, interface="lo", path="elsewhere")
        pbs = QsubBatchSettings(nodes=2)
        pbs.set_resource("select", 2)
        exp.start(database)
        checks = [
            (SSUnsupportedError, lambda: Experiment("x", launcher="cobalt")),
            (TypeError, lambda: Experiment("x", exp_path=3)),
            (NotADirectoryError, lambda: Experiment("x", exp_path="nowhere")),
            (SSUnsupportedError, lambda: exp.create_database(db_nodes=2)),
            (SmartSimError, lambda: exp.create_database(batch=True)),
            (SSUnsupportedError, lambda: exp.start(database)),
            (SSDBIDConflictError, lambda: exp.start(same)),
            (SmartSimError, lambda: exp.start(model, exp.create_model("a", echo))),
            (TypeError, lambda: exp.start([model])),
            (KeyError, lambda: exp.stop(model)),
            (ValueError, lambda: exp.finished(model)),
            (TypeError, lambda: exp.finished(database)),
            (PreviewFormatError, lambda: exp.preview(model, output_format="html")),
            (EntityExistsError, lambda: reader.register_incoming_entity(model)),
            (EntityExistsError, lambda: members.add_model(members["e_0"])),
            (TypeError, lambda: members.add_model(3)),
            (FileNotFoundError, lambda: model.attach_generator_files(to_copy="nowhere")),
            (SmartSimError, lambda: Ensemble("n", None)),
            (SmartSimError, lambda: exp.create_ensemble("n", {"a": [1]})),
            (UserStrategyError, lambda: exp.create_ensemble(
                "n", {"a": [1]}, run_settings=echo, perm_strategy=lambda *a: 3)),
            (SSUnsupportedError, lambda: exp.create_ensemble("n", {"a": [1]}, run_settings=echo, perm_strategy="no")),
            (FileNotFoundError, lambda: exp.create_run_settings("no-such-program")),
            (TypeError, lambda: echo.update_env({"A": [1]})),
            (SmartSimError, lambda: create_batch_settings("local")),
            (SmartSimError, lambda: create_batch_settings("nothing")),
            (SSConfigError, lambda: pbs.format_batch_args()),
            (LauncherUnsupportedFeature, lambda: SgeQsubBatchSettings(ncpus=2, pe_type="mpi").set_nodes(2)),
            (SSUnsupportedError, lambda: DragonRunSettings("echo")),
            (SmartSimError, lambda: exp.create_database(port=0).get_address()),
            (FileNotFoundError, lambda: exp.reconnect_orchestrator("nowhere/smartsim_db.dat")),
            (SmartSimError, lambda: exp.reconnect_orchestrator(__file__)),
            (ValueError, lambda: model.colocate_db_uds(unix_socket="/tmp/a b")),
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
        """
    )
    assert lines == []


def test_settings_are_of_the_classes_that_programs_know(program):
    lines = program(
        """
        import sys
        from smartsim import Experiment, settings
        from smartsim.settings.base import BatchSettings
        slurm = Experiment("s", launcher="slurm")
        srun = slurm.create_run_settings(sys.executable, "a.py", run_command="srun", run_args={"exclusive": None})
        srun.set_tasks(4)
        srun.set_walltime("00:10:00")
        print(type(srun) is settings.SrunSettings, isinstance(srun, settings.RunSettings), srun.format_run_args())
        batch = slurm.create_batch_settings(nodes=2, time="01:00:00", account="me")
        print(type(batch) is settings.SbatchSettings, isinstance(batch, BatchSettings), batch.format_batch_args())
        model = slurm.create_model("m", srun, batch_settings=batch)
        ensemble = slurm.create_ensemble("e", batch_settings=batch, run_settings=srun, replicas=2)
        print(type(ensemble.models[0].run_settings) is settings.SrunSettings, ensemble.batch)
        plain = Experiment("p").create_run_settings("echo", run_command=None, env_vars={"A": 1})
        print(type(plain) is settings.RunSettings, plain.env_vars, isinstance(plain, settings.SettingsBase))
        """
    )
    assert lines == [
        "True True ['--exclusive', '--ntasks=4', '--time=00:10:00']",
        "True True ['--nodes=2', '--time=01:00:00', '--account=me']",
        "True True",
        "True {'A': '1'} True",
    ]


def test_attached_files_are_shown_as_a_table(program, tmp_path):
    for name in ("input.txt", "data.bin", "link.txt"):
        (tmp_path / name).write_text("")
    lines = program(
        """
        import os
        from smartsim import Experiment
        exp = Experiment("x")
        model = exp.create_model("m", exp.create_run_settings("echo"))
        print(model.attached_files_table)
        model.attach_generator_files(to_copy=["data.bin", "input.txt"], to_symlink="link.txt")
        for line in model.attached_files_table.replace(os.getcwd() + os.sep, "").splitlines():
            print("|".join(cell.strip() for cell in line.split("|")) if "|" in line else line[0] + line[1])
        """
    )
    assert lines == [
        "No file attached to this model.",
        "+-",
        "|Strategy|Files|",
        "+=",
        "|Copy|data.bin|",
        "||input.txt|",
        "+-",
        "|Symlink|link.txt|",
        "+-",
    ]


def test_what_is_logged_goes_to_the_standard_output_and_to_files(program, tmp_path):
    lines = program(
        """
        from smartsim import Experiment
        from smartsim.log import get_logger, log_to_file
        log_to_file("all.log")
        logger = get_logger(__name__)
        logger.info("mine")
        logger.debug("details")
        exp = Experiment("x")
        exp.start(exp.create_model("m", exp.create_run_settings("echo")), summary=True)
        """,
        env={"SMARTSIM_LOG_LEVEL": "info"},
    )
    assert any(line.endswith("INFO mine") and " SmartSim[" in line for line in lines)
    assert any("=== Launch Summary ===" in line for line in lines)
    assert not any("details" in line for line in lines)
    assert "details" in (tmp_path / "all.log").read_text()


def test_a_database_of_several_identifiers_reaches_its_clients(program, tmp_path):
    (tmp_path / "read.py").write_text(
        "from smartredis import Client, ConfigOptions\n"
        "for name in ('first', 'second'):\n"
        "    client = Client(ConfigOptions.create_from_environment(name), logger_name=name)\n"
        "    print(int(client.get_tensor('which')[0]), end=' ')\n"
    )
    lines = program(
        """
        import sys
        import numpy as np
        from smartredis import Client
        from smartsim import Experiment
        exp = Experiment("many")
        databases = [exp.create_database(port=0, db_identifier=name, interface="lo") for name in ("first", "second")]
        exp.start(*databases)
        for number, database in enumerate(databases, 1):
            Client(False, database.get_address()[0]).put_tensor("which", np.array([number]))
        model = exp.create_model("read", exp.create_run_settings(sys.executable, "read.py"))
        model.attach_generator_files(to_copy="read.py")
        exp.start(model)
        print(open(model.path + "/read.out").read(), exp.get_status(model)[0].value)
        exp.stop(*databases)
        """,
        flags=["--no-real-smartredis"],
    )
    assert lines == ["1 2  Completed"]


def test_what_was_a_defect_is_not(program):
    lines = program(
        """
        import os, sys
        from smartsim import Experiment
        from smartsim.settings import SrunSettings, MpirunSettings
        exp = Experiment("x")
        echo = exp.create_run_settings("echo")
        print(len(exp.create_ensemble("a", {"p": [1, 2]}, run_settings=echo, replicas=2)))
        print(exp.create_ensemble("b", {"p": 0.5}, run_settings=echo).models[0].params)
        srun = SrunSettings("echo", run_args={"gpus": 0}, env_vars={"TAKEN": None})
        srun.set_time(hours=30)
        print(srun.format_run_args(), srun.format_env_vars())
        db = exp.create_database(port=0)
        exp.start(db)
        print(db.get_address()[0].startswith("127."), os.path.islink("x/orchestrator/smartsim_db.dat"))
        print("SSDB" in os.environ)
        db.set_db_conf("maxmemory", "100mb")
        print("SSDB" in os.environ)
        moved = exp.create_ensemble("c", run_settings=echo, replicas=2)
        moved.set_path("elsewhere")
        print([os.path.relpath(member.path) for member in moved])
        text = exp.create_run_settings(sys.executable, ["-c", "import sys; print(sys.argv[1:])", "a|b", "ä b"])
        model = exp.create_model("words", text)
        exp.start(model)
        print(open("x/words/words.out").read().strip())
        """
    )
    assert lines == [
        "4",
        "{'p': '0.5'}",
        # Taken over with all others, and no word about it needed.
        "['--gpus=0', '--time=30:00:00'] []",
        "True True",
        "False",
        "False",
        "['elsewhere/c_0', 'elsewhere/c_1']",
        "['a|b', 'ä b']",
    ]


def test_what_is_started_without_monitoring_outlives_the_driver(program, tmp_path):
    [address] = program(
        """
        from smartsim import Experiment
        exp = Experiment("x")
        db = exp.create_database(port=0, interface="lo")
        exp.start(db, monitor=False)
        print(*db.get_address())
        """
    )
    lines = program(
        f"""
        from smartsim import Experiment
        exp = Experiment("y")
        db = exp.reconnect_orchestrator("x/orchestrator/smartsim_db.dat")
        print(db.get_address() == ["{address}"], db.is_active())
        exp.stop(db)
        print(db.is_active())
        """
    )
    assert lines == ["True True", "False"]


def test_a_database_on_the_node_of_a_program_is_found_by_it(program, tmp_path):
    (tmp_path / "child.py").write_text(
        "import numpy as np; from smartredis import Client\n"
        "client = Client(cluster=False)\n"
        "client.put_tensor('t', np.ones(3)); print(client.get_tensor('t').sum())\n"
    )
    lines = program(
        """
        import sys
        from smartsim import Experiment
        exp = Experiment("x")
        for kind in ("tcp", "uds"):
            model = exp.create_model(kind, exp.create_run_settings(sys.executable, "child.py"))
            model.attach_generator_files(to_copy="child.py")
            if kind == "tcp":
                model.colocate_db_tcp(port=0, ifname="lo", db_cpus=1, custom_pinning=[], debug=True, maxclients=100)
            else:
                model.colocate_db_uds(unix_socket=f"{sys.argv[1]}/s", custom_pinning=[])
            exp.generate(model)
            exp.start(model, block=True)
            print(model.colocated, exp.get_status(model)[0].value, open(model.path + f"/{kind}.out").read().strip())
        """,
        str(tmp_path),
        flags=["--no-real-smartredis"],
    )
    assert lines == ["True Completed 3.0", "True Completed 3.0"]


@pytest.mark.skipif(find_spec("grpc") is None, reason="needs gRPC (pip install smartml[monitor])")
def test_telemetry_keeps_records_once_it_is_enabled(program):
    lines = program(
        """
        import os
        from smartsim import Experiment
        exp = Experiment("x")
        exp.telemetry.disable()
        exp.start(exp.create_model("a", exp.create_run_settings("echo")))
        print(exp.telemetry.is_enabled, os.path.exists("x/records"))
        exp.telemetry.enable()
        exp.start(exp.create_model("b", exp.create_run_settings("echo")))
        print(exp.telemetry.is_enabled, os.path.exists("x/records"))
        db = exp.create_database(port=0)
        db.telemetry.enable()
        """
    )
    assert lines[:2] == ["False False", "True True"]
    assert "no memory.csv" in lines[2] and len(lines) == 3


def test_jobs_and_allocations_of_slurm(program, slurm):
    lines = program(
        """
        from smartsim import Experiment
        from smartsim.error import AllocationError, SSReservedKeywordError
        from smartsim.wlm.slurm import get_allocation, get_default_partition, release_allocation, validate
        exp = Experiment("x", launcher="slurm")
        batch = exp.create_batch_settings(nodes=2, time="00:05:00")
        srun = exp.create_run_settings("echo", "job", run_command="srun", run_args={"ntasks": 1})
        ensemble = exp.create_ensemble("e", batch_settings=batch, run_settings=srun, replicas=2)
        exp.generate(ensemble)
        exp.start(ensemble, block=True)
        print([status.value for status in exp.get_status(ensemble)], open(ensemble.models[1].path + "/e_1.out").read())
        print(get_default_partition(), validate(nodes=4), validate(nodes=5))
        allocation = get_allocation(nodes=1, time="00:05:00")
        step = exp.create_model("m", exp.create_run_settings("echo", "step", run_command="srun", alloc=allocation))
        exp.start(step, block=True)
        print(exp.get_status(step)[0].value, open(step.path + "/m.out").read())
        release_allocation(allocation)
        for kind, act in (
            (SSReservedKeywordError, lambda: get_allocation(options={"nodes": 3})),
            (AllocationError, lambda: release_allocation(allocation)),
        ):
            try:
                act()
            except kind:
                print("caught", end=" ")
        """
    )
    assert [line for line in lines if line] == [
        "['Completed', 'Completed'] job",
        "debug True False",
        "Completed step",
        "caught caught ",
    ]
