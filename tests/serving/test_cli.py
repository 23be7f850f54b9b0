"""`smartml serve`, as a user runs it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from servers import wait_until

from smartml.cli import main
from smartml.serving import Predictor

from .http import httpx
from .runs import Run, sample_for

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run(tmp_path_factory.mktemp("a run"), inputs=("field",), outputs=("later",))
    made.save(10, 0.5)
    return made


@contextlib.contextmanager
def command(*arguments):
    """Run `smartml`; gives the process and its first line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "smartml", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, line
    finally:
        process.kill()
        process.communicate()


def url_in(line):
    return re.search(r"https?://\S+", line)[0]


def refused(*arguments):
    """Run `smartml serve`, which should end at once; return what it says."""
    done = CliRunner().invoke(main, ["serve", *map(str, arguments)])
    # Anything else would be shown with a traceback.
    assert done.exit_code != 0 and isinstance(done.exception, SystemExit), done.exception
    return " ".join(done.output.split())


def test_a_run_folder_is_served_until_a_signal_comes(run):
    with command("serve", "--model-path", run.folder.path, "--port", 0) as (process, line):
        assert line.startswith("run_checkpoint_10_perf-average=0.5000.pt answers at http://127.0.0.1:")
        example = httpx.get(url_in(line) + "/info", timeout=20).json()["example"]
        assert httpx.post(url_in(line) + "/predict", json=example, timeout=20).status_code == 200

        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


async def ask_until_closed(port, body, outcomes):
    """Ask over one connection, again and again, until the server closes it; note each outcome."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    while True:
        received = b""
        try:
            writer.write(REQUEST % (len(body), body))
            received = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", received)[1])
            received += await reader.readexactly(length)
            outcomes.append(received)
            if b"connection: close" in received.lower():
                break
        except (asyncio.IncompleteReadError, OSError) as error:
            # Nothing came, or something that breaks off.
            outcomes.append(received + getattr(error, "partial", b""))
            break
    writer.close()


def test_every_request_that_was_taken_is_answered_when_the_server_is_stopped_under_load(run):
    with command("serve", "--model-path", run.folder.path, "--port", 0) as (process, line):
        port = int(url_in(line).rpartition(":")[2])
        body = json.dumps(httpx.get(url_in(line) + "/info", timeout=20).json()["example"] * 20).encode()
        outcomes = []

        async def load():
            tasks = [asyncio.create_task(ask_until_closed(port, body, outcomes)) for _ in range(32)]
            while len(outcomes) < 100:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)

        asyncio.run(load())
        assert process.wait(20) == 0

    answered = [outcome for outcome in outcomes if outcome.startswith(b"HTTP/1.1 200")]
    # A request that reaches a connection when the server closes it was not taken: nothing at all comes back.
    assert len(answered) >= 100 and all(outcome == b"" for outcome in outcomes if outcome not in answered)
    for outcome in answered:
        assert len(json.loads(outcome.partition(b"\r\n\r\n")[2])["result"]) == 20


def test_who_waits_when_the_signal_comes_is_answered(run):
    """Each on a connection of its own; all have been taken, for the queue shows them."""
    options = ("--port", 0, "--max-batch-size", 1, "--max-queued", 600)
    with command("serve", "--model-path", run.folder.path, *options) as (process, line):
        url = url_in(line)
        body = httpx.get(url + "/info", timeout=20).json()["example"] * 200
        with ThreadPoolExecutor(8) as threads:
            waiting = [threads.submit(httpx.post, url + "/predict", json=body, timeout=60) for _ in range(8)]
            # One is worked on.
            wait_until(lambda: any(f"smartml_queued_samples {200 * n}.0" in metrics(url) for n in (2, 3)))
            process.send_signal(signal.SIGTERM)
            codes = [one.result().status_code for one in waiting]
        assert process.wait(20) == 0
    # At least the one that was worked on, and those that the queue has shown.
    assert set(codes) <= {200, 503} and codes.count(200) >= 3


def metrics(url):
    return httpx.get(url + "/metrics", timeout=20).text


def test_a_token_comes_from_a_file_that_only_its_owner_can_read(run, tmp_path):
    file = tmp_path / "a token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    assert "chmod 600" in refused("--model-path", run.folder.path, "--token-file", file)
    assert TOKEN not in refused("--model-path", run.folder.path, "--token-file", file)
    file.chmod(0o600)
    with command("serve", "--model-path", run.folder.path, "--port", 0, "--token-file", file) as (_, line):
        assert httpx.get(url_in(line) + "/info", timeout=20).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(url_in(line) + "/info", headers=headers, timeout=20).status_code == 200


@pytest.mark.parametrize("content", ["", "short", "a token with spaces in it", "tökentökentökentöken"])
def test_tokens_that_cannot_work_are_refused(run, tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o600)
    assert "16 or more printable ASCII" in refused("--model-path", run.folder.path, "--token-file", file)


def test_https_is_served_with_a_certificate(run, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    try:
        names = ("-addext", "subjectAltName=IP:127.0.0.1")
        subprocess.run([*made, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("the program 'openssl' is not installed")
    options = ("--port", 0, "--tls-certificate", certificate, "--tls-key", key)
    with command("serve", "--model-path", run.folder.path, *options) as (_, line):
        assert url_in(line).startswith("https://")
        trusted = ssl.create_default_context(cafile=certificate)
        assert httpx.get(url_in(line) + "/health", verify=trusted, timeout=20).json() == {"status": "ok"}


def test_what_cannot_be_served_is_said_in_a_sentence(run, tmp_path):
    assert "there is no checkpoint" in refused("--model-path", tmp_path)
    assert "there is no checkpoint" in refused("--model-path", tmp_path / "none.pt")
    assert "device 'none'" in refused("--model-path", run.folder.path, "--device", "none")
    assert "needs both" in refused("--model-path", run.folder.path, "--tls-key", tmp_path / "key.pem")
    assert "cannot listen" in refused("--model-path", run.folder.path, "--host", "192.0.2.1")
    assert "max_batch_size" in refused("--model-path", run.folder.path, "--max-batch-size", 0)
    assert "NAME=VALUE" in refused("--model-path", run.folder.path, "--redis", "127.0.0.1:1", "--prefix", "x")


def test_a_port_that_is_taken_is_named(run):
    with command("serve", "--model-path", run.folder.path, "--port", 0) as (_, line):
        port = url_in(line).rpartition(":")[2]
        assert f"127.0.0.1:{port}" in refused("--model-path", run.folder.path, "--port", port)


def test_a_database_is_served_until_a_signal_comes(run, client, server):
    options = ("--redis", server.address, "--prefix", "field=state")
    with command("serve", "--model-path", run.folder.path, *options) as (process, line):
        assert "answers tensors state_<rank>_<iteration>" in line
        state = sample_for(["field"])["field"][None]
        client.put_tensor("state_0_1", state)
        wait_until(lambda: client.tensor_exists("later_0_1"))
        process.send_signal(signal.SIGTERM)
        assert "1 questions answered, 0 of them by an error" in process.communicate(timeout=20)[0]
        assert process.returncode == 0
    expected = Predictor.load(run.folder.path).predict([{"field": state[0]}])[0]["later"]
    np.testing.assert_allclose(client.get_tensor("later_0_1")[0], expected, rtol=1e-4)


def test_a_checkpoint_that_gets_better_is_taken_into_use(run, tmp_path):
    own = Run(tmp_path, inputs=("field",), outputs=("later",))
    own.save(10, 0.5)
    with command("serve", "--model-path", own.folder.path, "--port", 0) as (_, line):
        better = own.save(20, 0.75)
        wait_until(lambda: httpx.get(url_in(line) + "/info", timeout=20).json()["checkpoint"] == better.name)
