"""The bridge, from the shell: what simulations put is served, and what others serve is put for trainers."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from servers import Server, wait_until

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml import Client
from smartml.cli import main
from smartml.errors import SampleFormatError, StreamingError
from smartml.feeds import DataDownloader, TrainingDataUploader
from smartml.streaming import ClientOptions, Sample, WebSocketSource
from smartml.streaming.bridge import pull

from .by_hand import connect


@pytest.fixture
def database(tmp_path):
    server = Server(tmp_path).start()
    yield server.address
    server.kill()


class Command:
    """A command of the shell that goes on until it is ended."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "smartml", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def url(self):
        line = self.process.stdout.readline()
        assert line.startswith("serving at "), line + self.process.stdout.read()
        return line.split()[-1]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=20)[0]


@pytest.fixture
def running():
    commands = []

    def run(*arguments):
        commands.append(Command(*arguments))
        return commands[-1]

    yield run
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


def put(address, batches, first=0):
    with TrainingDataUploader("training_data", address=address) as uploader:
        uploader.publish_info()
        for number in range(first, first + batches):
            uploader.put_batch(np.full((4, 2), number, "float32"), np.full((4,), number, "int64"))


def read_of_feed(address, batch_size):
    feed = DataDownloader("training_data", address=address, batch_size=batch_size, shuffle=False, wait_timeout_s=20)
    with feed:
        return next(iter(feed))


def test_what_simulations_put_is_served_as_it_comes_to_eirs_client_and_ours(database, running):
    put(database, 2)
    options = ("--list", "training_data", "--address", database, "--port", 0)
    command = running("stream", "serve", "--source", "redis", *options)
    url = command.url()
    with connect(url) as frames:
        frames.send({"type": "getInfo"})
        assert frames.receive()["payload"] == {
            "inputs": {"samples": {"type": "array", "shape": [2], "dtype": "float32"}},
            "outputs": {"targets": {"type": "tabular"}},
        }
    reading = iter(WebSocketSource(url, batch_size=4))
    begun = [next(reading) for _ in range(8)]
    put(database, 1, first=2)
    begun += [next(reading) for _ in range(4)]
    assert [sample.inputs["samples"].tolist() for sample in begun] == [[n, n] for n in (0, 1, 2) for _ in range(4)]
    assert begun[-1].target_labels == {"targets": {"targets": 2}}
    reading.close()
    assert "read 12 samples" in command.end()
    assert command.process.returncode == 0


def test_tensors_by_key_are_served_until_their_producers_are_done(database, running):
    with Client(address=database) as client:
        for iteration in range(3):
            client.put_tensor(f"points_{iteration}", np.full((2, 3), iteration, "float32"))
    options = ("--sample-prefix", "points", "--address", database, "--port", 0)
    url = running("stream", "serve", "--source", "redis", *options).url()
    found = list(WebSocketSource(url, batch_size=2).take(6))
    assert [sample.inputs["points"].tolist() for sample in found] == [[n] * 3 for n in (0, 0, 1, 1, 2, 2)]


def test_a_recorded_run_is_served(database, running, tmp_path):
    pytest.importorskip("zarr", reason="pip install zarr")
    put(database, 3)
    folder = tmp_path / "a recording"
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    record = [sys.executable, "-m", "smartml", "record", folder, "--list", "training_data", "--address", database]
    subprocess.run([*map(str, record), "--limit", "3"], check=True, timeout=60, env=environment)
    url = running("stream", "serve", "--source", folder, "--port", 0).url()
    for _ in range(2):
        found = WebSocketSource(url).collect()
        assert [int(sample.inputs["samples"][0]) for sample in found] == [n for n in range(3) for _ in range(4)]


PROGRAM = """
import numpy as np

def simulate():
    for number in range(10):
        yield {"inputs": {"text": f"no. {number}"}, "target_labels": {"twice": 2 * number}, "sample_id": f"n{number}"}

class Lists:
    numbers = [np.full((2, 2), n, "float32") for n in range(3)]

def survivors():
    yield {"note": "a"}, {"death": {"event": "1", "time": 2.5}}
"""


def test_a_python_object_is_served_with_info_and_token(running, tmp_path):
    (tmp_path / "simulation.py").write_text(PROGRAM)
    url = running("stream", "serve", "--source", f"{tmp_path}/simulation.py:simulate", "--port", 0).url()
    assert [sample.sample_id for sample in WebSocketSource(url)] == [f"n{n}" for n in range(10)]
    url = running("stream", "serve", "--source", f"{tmp_path}/simulation.py:Lists.numbers", "--port", 0).url()
    assert len(WebSocketSource(url).collect()) == 3

    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    info = {"inputs": {"note": {"type": "sequence"}}, "outputs": {"death": {"type": "survival"}}}
    (tmp_path / "info.json").write_text(json.dumps(info))
    options = ("--info", tmp_path / "info.json", "--token-file", tmp_path / "token", "--port", 0)
    url = running("stream", "serve", "--source", f"{tmp_path}/simulation.py:survivors", *options).url()
    [sample] = WebSocketSource(url, options=ClientOptions(token="secret"))
    assert sample == Sample({"note": "a"}, {"death": {"event": "1", "time": 2.5}}, "s0")


def fails(*arguments):
    done = CliRunner().invoke(main, ["stream", *map(str, arguments)])
    # Neither 0 nor 1 for an exception that nobody worded.
    assert isinstance(done.exception, SystemExit) and done.exit_code != 0
    return done.output


def test_what_cannot_be_served_is_one_sentence(tmp_path, serving):
    port = serving([1]).port
    (tmp_path / "simulation.py").write_text(PROGRAM)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o644)
    program = f"{tmp_path}/simulation.py:simulate"
    assert "there is no folder" in fails("serve", "--source", tmp_path / "nothing")
    assert "cannot be served" in fails("serve", "--source", f"{tmp_path}/simulation.py:nothing")
    assert "cannot be served" in fails("serve", "--source", "no_such_module:nothing")
    assert "name either --sample-prefix or --list" in fails("serve", "--source", "redis")
    assert f"cannot serve at 127.0.0.1:{port}" in fails("serve", "--source", program, "--port", port)
    assert "others can read the token" in fails("serve", "--source", program, "--token-file", tmp_path / "token")


def test_samples_of_another_server_are_put_where_trainers_find_them(database, serving):
    server = serving([(np.full((2, 3), n, "float32"), float(n)) for n in range(50)])
    command = [sys.executable, "-m", "smartml", "stream", "pull", server.url, "--address", database]
    done = subprocess.run([*command, "--batch-size", "16"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.search(r"put 4 batches, 50 samples", done.stdout)
    samples, targets = read_of_feed(database, 50)
    assert samples.shape == (50, 2, 3)
    assert sorted(samples[:, 0, 0].tolist()) == targets[:, 0].tolist() == list(range(50))


def test_samples_of_eirs_example_server_reach_a_feed(database, eir_server):
    url = eir_server("--samples", "40", "--array")
    with TrainingDataUploader("training_data", address=database) as uploader:
        uploader.publish_info()
        done = pull(WebSocketSource(url, batch_size=8), uploader, limit=30)
    assert (done.batches, done.samples) == (4, 30)
    samples, targets = read_of_feed(database, 30)
    assert samples.shape == (30, 3, 64, 64)
    assert targets.reshape(-1).tolist() == list(range(30))


def test_pulling_ends_when_it_is_interrupted_though_nothing_comes(database, serving, running):
    is_over = threading.Event()

    def source():
        yield from (1.0, 2.0)
        is_over.wait(30)

    server = serving(source)
    command = running("stream", "pull", server.url, "--no-targets", "--address", database, "--batch-size", 1)
    with Client(address=database) as client:
        wait_until(lambda: client.get_list_length("training_data") == 2)
    assert "put 2 batches, 2 samples" in command.end()
    assert command.process.returncode == 0
    is_over.set()


def test_features_that_no_tensor_holds_and_samples_that_do_not_fit_are_named(database, serving):
    def pulled(items, **names):
        target = "targets" if "target_name" in names else None
        with TrainingDataUploader("training_data", target_name=target, address=database) as uploader:
            return pull(WebSocketSource(serving(items).url), uploader, **names)

    with pytest.raises(StreamingError, match="input 'note' is of the type sequence, which no tensor holds"):
        pulled([{"note": "a"}])
    with pytest.raises(StreamingError, match=r"name one of the inputs of the stream: 'a' \(tabular\), 'b' "):
        pulled([{"a": 1, "b": np.zeros(3)}])
    with pytest.raises(StreamingError, match="name one of the targets of the stream: none"):
        pulled([{"a": 1}], target_name="y")
    with pytest.raises(SampleFormatError, match="sample 's1' has no input 'a'"):
        pulled([{"a": 1, "b": 2}, {"b": 2}], input_name="a")
    with pytest.raises(SampleFormatError, match="sample 's0': not all columns of input 'a' are num"):
        pulled([{"a": {"x": "y"}}])
    assert pulled([{"a": {"x": 1, "y": 2}}, {"a": {"y": 4, "x": 3}}]).samples == 2
