"""`smartml monitor web-serve` and `smartml monitor assets`, as people run them."""

import signal
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("tornado", reason="the package 'tornado' is not installed")
pytest.importorskip("bokeh", reason="the package 'bokeh' is not installed")

from smartml.monitor.pages import assets

COMMAND = (sys.executable, "-m", "smartml", "monitor")

needs_uplot = pytest.mark.skipif(
    not assets.are_there(), reason="uPlot is not there: run `smartml monitor assets`, which needs npm"
)


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def schema(tmp_path):
    file = tmp_path / "a schema.yaml"
    file.write_text("loss: {}\n")
    return file


@needs_uplot
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pages_are_served_until_interrupted(server, log, schema, number):
    command = [*COMMAND, "web-serve", "127.0.0.1:0", server.address, str(schema), "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[-1]

    with urllib.request.urlopen(address + "?rows=loss", timeout=20) as answer:
        assert answer.status == 200
    process.send_signal(number)
    told = process.communicate(timeout=20)

    assert address.startswith("http://127.0.0.1:")
    assert (process.returncode, told) == (0, ("", ""))


@needs_uplot
def test_a_store_is_shown_without_its_server(server, log, store, schema):
    log.write("loss", x=1, y=2.0)
    log.flush()
    server.stop()
    process = subprocess.Popen([*COMMAND, "web-serve", "0", str(store), str(schema)], stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[-1]

    text = ""
    while "<td>loss</td><td>1</td>" not in text:
        with urllib.request.urlopen(address, timeout=20) as answer:
            text = answer.read().decode()
    process.terminate()
    process.communicate(timeout=20)

    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "Missing argument 'WEB_URI'"),
        (("8888", "127.0.0.1:1", "SCHEMA", "soon"), 2, "'soon' is not a valid float"),
        (("8888", "127.0.0.1:1", "SCHEMA", "nan"), 1, "refresh_s is nan: it must be 0 or more"),
        (("8888", "127.0.0.1:1", "none.yaml"), 1, "the schema none.yaml cannot be read"),
        (("8888", "no such folder", "SCHEMA"), 1, "no such folder"),
        (("run.example", "127.0.0.1:1", "SCHEMA"), 1, "'run.example' is not where pages can be served"),
    ],
)
@needs_uplot
def test_misuse_is_one_sentence(schema, arguments, code, words):
    done = run("web-serve", *(str(schema) if argument == "SCHEMA" else argument for argument in arguments))

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_archive_is_refused(tmp_path):
    archive = tmp_path / "uplot.tgz"
    archive.write_bytes(b"something else")

    done = run("assets", "--from", str(archive))

    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Error: this is not the published archive of {assets.PACKAGE}: its checksum is sha512-"
    )
