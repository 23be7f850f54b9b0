"""The page of an experiment: what it shows of a real one, and where it looks for records."""

import re
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

pytest.importorskip("yaml", reason="the package 'PyYAML' is not installed")
pytest.importorskip("bokeh", reason="the package 'bokeh' is not installed")

from smartml import Experiment, Orchestrator
from smartml.errors import MonitorError
from smartml.experiment.states import Status
from smartml.monitor import DataLogger
from smartml.monitor.pages import WATCH_PAGE, Axes, Place, assets, find_records, parse_layout, watch_schema
from smartml.monitor.pages.collection import Collection
from smartml.monitor.pages.drawing import Plot, Wish

# A program of the experiment that logs as feeds and trainings do.
PROGRAM = """
import time
from smartml.monitor import DataLogger
with DataLogger() as log:
    for step in range(3):
        now = time.time()
        for name, value in (("arrived", 10), ("held", 8), ("used", 5), ("dropped", 1)):
            log.write(f"feed/{name}", x=now, y=value * (step + 1))
        log.write("feed/lag/producer", x=now, y=step)
        log.write("train/loss", x=step, y=1 / (step + 1))
        log.write("epoch/loss", x=step, y=0.5)
        log.write("field/simulated", step=step, value=[[1.0, 2.0], [3.0, 4.0]])
        log.write("field/predicted", step=step, value=[[1.0, 2.0], [3.0, 5.0]])
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """An experiment that has run, with records."""
    made = Experiment("the run", exp_path=tmp_path_factory.mktemp("the experiment"))
    program = made.create_model("program", made.create_run_settings(sys.executable, ["-c", PROGRAM]))
    failing = made.create_model("failing", made.create_run_settings(sys.executable, ["-c", "raise SystemExit(3)"]))
    try:
        made.start(Orchestrator(port=0), program, failing, block=False, monitor=True)
        made.wait(program, failing)
    finally:
        made.stop()
        made.monitoring.close()
    return made


def read(records):
    collection = Collection()
    collection.apply(records.query(None))
    records.close()
    return collection


def drawn(collection, plot, axes=Axes.LIN):
    schema = watch_schema()[plot]
    return Plot(Place(plot, 1.0, None, axes), schema, re.compile(".*")).draw(collection, Wish(400, 300))


def test_the_page_has_what_a_run_is_about(experiment):
    collection = read(find_records(experiment.exp_path))

    assert {trace.label for trace in drawn(collection, "states").traces} >= {
        "states/program",
        "states/failing",
        "states/orchestrator",
    }
    assert [trace.label for trace in drawn(collection, "samples").traces] == [
        "the run/program-feed/arrived",
        "the run/program-feed/held",
        "the run/program-feed/used",
    ]
    assert [trace.y.tolist() for trace in drawn(collection, "lag").traces] == [[0, 1, 2]]
    assert [trace.label for trace in drawn(collection, "losses", Axes.YLOG).traces] == ["the run/program-train/loss"]
    [memory] = drawn(collection, "memory").traces
    assert memory.label.startswith("database/orchestrator/memory")
    assert (memory.y > 100_000).all()
    first, second = drawn(collection, "fields").fields
    assert (first.label, second.label) == ("field/simulated", "field/predicted")
    assert (first.values.tolist(), second.values.tolist()) == ([[1, 2], [3, 4]], [[1, 2], [3, 5]])
    for plot in watch_schema():
        assert drawn(collection, plot).warnings == ()


def test_states_have_the_names_that_the_experiment_gave_them(experiment):
    labels = watch_schema()["states"].glyph_options["labels"]
    assert labels == [str(status) for status in Status]

    traces = {trace.label: trace for trace in drawn(read(find_records(experiment.exp_path)), "states").traces}
    assert labels[int(traces["states/program"].y[-1])] == "Completed"
    assert labels[int(traces["states/failing"].y[-1])] == "Failed"


def test_the_last_state_lasts_until_the_latest_point_of_the_run(server):
    with DataLogger("run", grpc_uri=server.address) as log, DataLogger("run/a", grpc_uri=server.address) as program:
        log.write("states/a", x=100.0, y=3)
        program.write("feed/arrived", x=160.0, y=1)
    with DataLogger("another run", grpc_uri=server.address) as log:
        log.write("feed/arrived", x=900.0, y=1)

    shown = drawn(read(find_records(server.address)), "states")

    assert shown.x == (99.5, pytest.approx(160 + 0.08 * 60.5))
    assert shown.y == (-0.5, 0.5)


def test_the_address_of_the_page_is_a_layout_of_the_schema():
    query = {}
    for name, value in re.findall(r"[?&](\w+)=([^&]*)", WATCH_PAGE):
        query.setdefault(name, []).append(value)

    assert [place.plot for place in parse_layout(query, watch_schema()).places] == [
        "states",
        "samples",
        "losses",
        "lag",
        "memory",
        "fields",
    ]


def test_records_are_found_by_folder_store_address_and_environment(experiment, server, monkeypatch, tmp_path):
    for place in (experiment.exp_path, experiment.monitoring.folder):
        assert "the run" in read(find_records(place)).names()
    with DataLogger("here", grpc_uri=server.address) as log:
        log.write("x", x=1, y=1)
    assert list(read(find_records(server.address)).names()) == ["here"]
    monkeypatch.setenv("SMARTML_MONITOR", server.address)
    assert list(read(find_records()).names()) == ["here"]
    monkeypatch.delenv("SMARTML_MONITOR")
    monkeypatch.chdir(experiment.exp_path)
    assert "the run" in read(find_records()).names()

    with pytest.raises(MonitorError, match=r"there is no folder .*nothing"):
        find_records(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MonitorError, match="start it with monitor=True"):
        find_records(tmp_path / "empty")


@pytest.mark.skipif(not assets.are_there(), reason="uPlot is not there: run `smartml monitor assets`, which needs npm")
def test_one_command_serves_the_page(experiment):
    pytest.importorskip("tornado", reason="the package 'tornado' is not installed")
    command = [sys.executable, "-m", "smartml", "watch", experiment.exp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    try:
        assert line.startswith("the run is at http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[-1], timeout=20) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0

    done = subprocess.run([*command[:-1], "no such folder"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no folder no such folder: ")


def test_a_moment_of_a_time_axis_is_a_second_wide(server):
    with DataLogger("run", grpc_uri=server.address) as log:
        log.write("feed/held", x=1.8e9, y=1)

    assert np.diff(drawn(read(find_records(server.address)), "samples").x).tolist() == [1.0]
