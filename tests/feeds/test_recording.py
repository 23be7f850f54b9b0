"""Streams that are written to disk and put back: what is kept of them, and what happens when something goes wrong."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from servers import Cluster, Server, wait_until

from smartml import Client, Dataset
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FeedTimeoutError,
    RecordingError,
    StoreConnectionError,
)
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.feeds.buffer import Column
from smartml.feeds.player import AS_FAST_AS_POSSIBLE, read_speed, replay, schedule
from smartml.feeds.recorder import record
from smartml.feeds.recording import Recording
from smartml.feeds.recording_writer import chunk_regions, chunk_shape
from smartml.feeds.schemes import KeyScheme

from .conftest import needs, numbers

pytestmark = needs("zarr")

POINTS = KeyScheme("points")
BOTH = KeyScheme("points", "values")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "a recording"


@pytest.fixture
def keep(client, out):
    """Record what is there."""

    def keep(scheme=POINTS, **options):
        limit = options.pop("limit", None)
        return record(client, out, scheme, until_idle_s=options.pop("until_idle_s", 0.05), limit=limit, **options)

    return keep


@pytest.fixture
def play(client, out):
    """Empty the database, and put the recording into it as fast as possible."""

    def play(**options):
        client.database.command("FLUSHALL")
        return replay(client, out, **{"speed": AS_FAST_AS_POSSIBLE, **options})

    return play


def contents(path):
    """All samples of a recording, batch by batch."""
    recording = Recording(path)
    return [recording.read(batch)[0].tolist() for batch in recording.batches]


def put(client, iteration, *values, rank=None, prefix="points"):
    name = "_".join(str(part) for part in (prefix, rank, iteration) if part is not None)
    client.put_tensor(name, numbers(*values))


def start(*arguments, **options):
    command = [sys.executable, "-m", "smartml", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def complete_batches(path):
    """How many batches of a recording that is being written can be read."""
    with contextlib.suppress(RecordingError):
        return len(Recording(path).batches)
    return 0


# What comes back


def test_a_feed_of_the_replayed_stream_sees_the_same_in_the_same_order(scheme, make_feed, client, out, play):
    producer = scheme.producer()
    for first in range(0, 10, 2):
        producer.put(numbers(first, first + 1), numbers(-first, -first - 1))
    arguments = scheme.arguments(targets=True)
    original = make_feed(targets=True)

    looked_for = arguments.get("data_info_or_list_name") or BOTH
    done = record(client, out, looked_for, until_idle_s=0.05)
    played = play()

    again = make_feed(targets=True)
    assert again.samples.tolist() == original.samples.tolist() == list(range(10))
    assert again.targets.tolist() == original.targets.tolist()
    assert [np.asarray(x).tolist() for x, _ in again] == [np.asarray(x).tolist() for x, _ in original]
    assert (done.batches, done.samples, done.bytes) == (played.batches, played.samples, played.bytes) == (5, 10, 80)


def test_ranks_and_producers_come_back_under_their_own_keys(client, keep, play, make_plain_feed, monkeypatch):
    values = iter(range(100))
    for iteration in range(3):
        for producer in ("sim_0", "sim_1"):
            for rank in range(2):
                put(client, iteration, next(values), rank=rank, prefix=f"{producer}.points")
    monkeypatch.setenv("SSKEYIN", "sim_0,sim_1")
    original = make_plain_feed(sample_prefix="points", uploader_ranks=2)
    before = sorted(client.database.scan(b"*"))

    keep(KeyScheme("points", ranks=2), producers=("sim_0", "sim_1"))
    play()

    assert sorted(client.database.scan(b"*")) == before
    assert make_plain_feed(sample_prefix="points", uploader_ranks=2).samples.tolist() == original.samples.tolist()


def users_keys(client):
    return sorted(key for key in client.database.scan(b"*") if not key.startswith(".smartml."))


def test_a_list_that_is_only_named_is_recorded_and_published_again(
    client, keep, play, out, make_plain_feed, of_entity, monkeypatch
):
    for entity in ("sim_0", "sim_1"):
        with of_entity(entity), TrainingDataUploader("training", "x", "y", num_classes=3, rank=0) as uploader:
            uploader.publish_info()
            uploader.put_batch(numbers(1, 2), numbers(0, 2, dtype="int32"))
    before = users_keys(client)

    keep("training", producers=("sim_0", "sim_1"))
    play()

    assert users_keys(client) == before
    monkeypatch.setenv("SSKEYIN", "sim_0,sim_1")
    assert make_plain_feed(data_info_or_list_name="training").finished
    recorded = Recording(out).header
    assert (recorded.producers, recorded.scheme.num_classes) == (("sim_0", "sim_1"), 3)


def test_batches_of_different_sizes_keep_their_bounds(client, keep, out):
    for iteration, size in enumerate((3, 1, 0, 70_000, 2)):
        put(client, iteration, *range(size))

    keep()

    assert contents(out) == [[*range(3)], [0], [], [*range(70_000)], [0, 1]]


@pytest.mark.parametrize("dtype", [*DTYPES, pytest.param("bfloat16", marks=needs("ml_dtypes"))])
def test_every_dtype_comes_back_bit_by_bit(client, keep, play, dtype):
    if dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    samples = np.arange(24).reshape(2, 3, 4) % 2
    samples = samples.astype(dtype)
    client.put_tensor("points_0", samples)

    keep()
    play()

    got = client.get_tensor("points_0")
    assert (got.dtype, got.shape, got.tobytes()) == (samples.dtype, samples.shape, samples.tobytes())


def test_not_a_number_and_signed_zeros_come_back(client, keep, play):
    samples = np.array([np.nan, -0.0, np.inf, -np.inf], "float32")
    client.put_tensor("points_0", samples)

    keep()
    play()

    assert client.get_tensor("points_0").tobytes() == samples.tobytes()


def test_what_arrives_while_recording_has_the_time_and_the_order_of_its_arrival(client, keep, out):
    put(client, 0, 1)
    seen = []

    def put_next(progress):
        seen.append(progress.batches)
        if progress.batches < 4:
            put(client, progress.batches, 10 * progress.batches)

    keep(report=put_next)

    batches = Recording(out).batches
    assert seen == [1, 2, 3, 4]
    assert contents(out) == [[1], [10], [20], [30]]
    assert [batch.origin.iteration for batch in batches] == [0, 1, 2, 3]
    assert batches[0].seconds == 0
    assert [batch.seconds for batch in batches] == sorted(batch.seconds for batch in batches)


def test_a_recording_is_read_by_xarray(client, keep, out):
    xarray = pytest.importorskip("xarray")
    for iteration in range(2):
        client.put_tensors({f"points_{iteration}": np.ones((4, 3)), f"values_{iteration}": np.zeros(4, "float16")})

    keep(BOTH)

    with xarray.open_zarr(out, consolidated=False) as found:
        assert found.samples.shape == (8, 3)
        assert (found.targets.dtype, found.targets.dims) == ("float16", ("sample",))
        assert found.batches.sel(field="num_samples").values.tolist() == [4, 4]


def test_the_recorder_ends_after_the_limit_and_when_told_to(client, keep, out, tmp_path):
    for iteration in range(5):
        put(client, iteration, iteration)

    assert keep(limit=3, until_idle_s=None).batches == 3
    assert record(client, tmp_path / "none", POINTS, stop=lambda: True).batches == 0
    assert not (tmp_path / "none").exists()
    assert contents(out) == [[0], [1], [2]]


# What does not fit


def test_a_misfit_is_left_out_and_the_rest_is_replayed_without_a_gap(client, keep, play, out, caplog, make_plain_feed):
    put(client, 0, 1, 2)
    client.put_tensor("points_1", np.zeros((2, 3), "float32"))
    client.database.command("SET", "points_2", "no tensor")
    client.database.command("RPUSH", "points_3", "no string")
    put(client, 4, 3, 4)

    done = keep()
    play()

    assert (done.batches, done.left_out) == (2, 3)
    assert caplog.text.count("left out of the recording") == 3
    assert "'points_4' comes as number 1" in caplog.text
    assert make_plain_feed(sample_prefix="points").samples.tolist() == [1, 2, 3, 4]


def test_a_dataset_without_the_samples_is_left_out(client, keep, out):
    for name, tensor in (("a", "x"), ("b", "other"), ("c", "x"), ("d" * 300, "x")):
        dataset = Dataset(name)
        dataset.add_tensor(tensor, numbers(1))
        client.put_dataset(dataset)
        client.append_to_list("training", dataset)

    done = keep(DataInfo("training", "x", None))

    assert (done.batches, done.left_out) == (2, 2)
    assert [batch.origin.name for batch in Recording(out).batches] == [b"{a}", b"{c}"]


def test_nothing_in_time_says_what_was_looked_for_and_leaves_nothing_behind(client, keep, out):
    put(client, 0, 1, prefix="pionts")

    with pytest.raises(FeedTimeoutError, match=r"no sample came within 0\.05 s.*'points_0'.*'pionts_0'"):
        keep()
    with pytest.raises(FeedTimeoutError, match="nobody published what the list 'training' holds"):
        keep("training")
    client.put_tensor("points_0", np.array(1.0))
    with pytest.raises(FeedTimeoutError, match="a batch has samples along axis 0"):
        keep()
    assert not out.exists()


def test_arguments_that_cannot_work_are_refused(client, keep, out):
    for options in ({"until_idle_s": 0}, {"until_idle_s": float("nan")}, {"limit": 0}, {"limit": 1.5}):
        with pytest.raises(ArgumentValueError):
            keep(**options)
    with pytest.raises(ArgumentTypeError):
        keep(None)
    for options in ({"speed": 0}, {"speed": -1}, {"speed": float("nan")}, {"speed": "2"}, {"loops": 0}):
        with pytest.raises(ArgumentValueError):
            replay(client, out, **options)
    for text in ("0", "-1", "nan", "fast", ""):
        with pytest.raises(ArgumentValueError, match="speed must be a number above 0"):
            read_speed(text)
    assert not out.exists()


# Folders


def test_nothing_is_overwritten(client, keep, out, tmp_path):
    put(client, 0, 1)
    keep()
    with pytest.raises(RecordingError, match="is not empty"):
        keep()
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, file / "inside"):
        with pytest.raises(RecordingError, match="no recording can be written to"):
            record(client, path, POINTS)
    assert (contents(out), file.read_text()) == ([[1]], "mine")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_must_not_be_written_to_is_named(client, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RecordingError, match="Permission denied"):
        record(client, tmp_path / "out", POINTS)
    tmp_path.chmod(0o700)


def test_a_disk_that_takes_no_more_ends_the_recording_and_keeps_what_was_whole(server, client, out):
    client.put_tensor("points_0", np.arange(4.0))

    # No file may grow beyond this: what a full disk or a quota says comes at the same place.
    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    recorder = start("record", out, "--sample-prefix", "points", "--address", server.address, preexec_fn=limit_files)
    wait_until(lambda: complete_batches(out) == 1)
    client.put_tensor("points_1", np.random.default_rng(0).random(100_000))
    _, words = recorder.communicate(timeout=60)

    assert recorder.returncode == 1
    assert "cannot be written: [Errno 27] File too large" in words
    assert "the 1 batches before can be replayed" in words
    assert "Traceback" not in words
    assert contents(out) == [[0.0, 1.0, 2.0, 3.0]]


def test_a_folder_that_is_no_recording_is_told_from_a_damaged_one(client, keep, out, tmp_path):
    with pytest.raises(RecordingError, match="no such folder"):
        replay(client, out)
    with pytest.raises(RecordingError, match="is no recording of smartml"):
        replay(client, tmp_path)
    for iteration in range(300):
        put(client, iteration, *range(2000))
    keep()

    def damaged(change):
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(out, broken)
        change(broken)
        client.database.command("FLUSHALL")
        with pytest.raises(RecordingError, match=r"broken.* (damaged|version 7)"):
            replay(client, broken, speed=AS_FAST_AS_POSSIBLE)

    damaged(lambda path: (path / "samples" / "1").unlink())
    damaged(lambda path: (path / "samples" / "0").write_bytes(b"x"))
    damaged(lambda path: (path / "batches" / "1.0").unlink())
    damaged(lambda path: (path / "batches" / "0.0").unlink())
    damaged(lambda path: shutil.rmtree(path / "samples"))
    damaged(lambda path: (path / ".zattrs").write_text("{"))
    for change in ({"smartml_recording": 7}, {"scheme": {"kind": "other"}}, {"scheme": None}, {"producers": []}):
        attributes = json.loads((out / ".zattrs").read_text()) | change
        damaged(lambda path, attributes=attributes: (path / ".zattrs").write_text(json.dumps(attributes)))


# Putting back


def test_the_schedule_is_the_recorded_one_divided_by_the_speed():
    seconds = [0.0, 1.0, 4.0]

    assert list(schedule(seconds)) == seconds
    assert list(schedule(seconds, 2.0)) == [0.0, 0.5, 2.0]
    assert list(schedule(seconds, 1.0, loops=2)) == [0.0, 1.0, 4.0, 6.0, 7.0, 10.0]
    assert list(schedule(seconds, AS_FAST_AS_POSSIBLE, loops=2)) == [0.0] * 6
    assert list(schedule([0.0], 1.0, loops=3)) == [0.0] * 3
    assert (read_speed("max"), read_speed("0.5")) == (AS_FAST_AS_POSSIBLE, 0.5)


def test_a_loop_puts_new_batches(scheme, make_feed, client, out, play):
    producer = scheme.producer()
    producer.put(numbers(1, 2))
    producer.put(numbers(3, 4))
    record(client, out, scheme.arguments().get("data_info_or_list_name") or POINTS, until_idle_s=0.05)

    play(loops=3)

    assert make_feed().samples.tolist() == [1, 2, 3, 4] * 3


def test_another_entity_takes_the_place_of_the_producer(scheme, client, out, play, make_feed, monkeypatch):
    scheme.producer().put(numbers(1, 2))
    record(client, out, scheme.arguments().get("data_info_or_list_name") or POINTS, until_idle_s=0.05)

    play(entity="sim_7")

    monkeypatch.setenv("SSKEYIN", "sim_7")
    assert make_feed().samples.tolist() == [1, 2]
    assert all("sim_7." in key for key in client.database.scan(b"*"))


def test_several_producers_cannot_share_one_name(client, keep, play):
    put(client, 0, 1, prefix="a.points")
    put(client, 0, 1, prefix="b.points")
    keep(producers=("a", "b"))

    with pytest.raises(RecordingError, match=r"2 producers were recorded \(a, b\).*'c'"):
        play(entity="c")


def test_a_replay_overwrites_nothing(scheme, client, out):
    scheme.producer().put(numbers(1, 2))
    record(client, out, scheme.arguments().get("data_info_or_list_name") or POINTS, until_idle_s=0.05)

    with pytest.raises(RecordingError, match="a replay overwrites nothing"):
        replay(client, out)


def test_a_replay_ends_when_told_to_and_a_recording_without_batches_is_refused(client, keep, play, out):
    for iteration in range(5):
        put(client, iteration, iteration)
    keep()
    done = []

    assert play(stop=lambda: len(done) == 2, report=done.append).batches == 2
    assert sorted(client.database.scan(b"*")) == ["points_0", "points_1"]


# How recorders die


def test_a_recorder_that_is_killed_leaves_all_its_complete_batches(server, client, out, play):
    arguments = ("--sample-prefix", "points", "--address", server.address)
    recorder = start("record", out, *arguments)
    iteration = 0
    while complete_batches(out) < 5:
        put(client, iteration, *range(iteration + 1))
        iteration += 1
        assert recorder.poll() is None
    recorder.kill()
    recorder.communicate()

    found = contents(out)
    assert len(found) >= 5
    assert found == [[*range(size + 1)] for size in range(len(found))]
    assert play().batches == len(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_recorder_ends_in_order(server, client, out, number):
    recorder = start("record", out, "--sample-prefix", "points", "--address", server.address)
    put(client, 0, 1, 2)
    wait_until(lambda: complete_batches(out) == 1)
    recorder.send_signal(number)
    words, _ = recorder.communicate(timeout=60)

    assert recorder.returncode == 0
    assert words == f"recorded 1 batches, 2 samples, 0.0 MB in {out}\n"
    assert Recording(out).is_closed


def test_a_database_that_goes_away_leaves_a_closed_recording(tmp_path, out, caplog):
    database = Server(tmp_path).start()
    with Client(address=database.address, connect_timeout_s=0.2) as client:
        put(client, 0, 1)
        with pytest.raises(StoreConnectionError):
            record(client, out, POINTS, report=lambda progress: database.kill())

    assert Recording(out).is_closed
    assert "ends with 1 batches" in caplog.text


# Clusters


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def on_cluster(cluster, client, close_later, monkeypatch):
    """A client of the emptied cluster, which the environment names."""
    for node in cluster.nodes:
        node.flushall()
    monkeypatch.setenv("SSDB", cluster.address)
    monkeypatch.setenv("SR_DB_TYPE", "Clustered")
    return close_later(Client())


def test_a_cluster_is_recorded_and_replayed(cluster, on_cluster, close_later, out, tmp_path, make_plain_feed):
    uploader = close_later(TrainingDataUploader("training", "x", "y"))
    uploader.publish_info()
    for iteration in range(10):
        put(on_cluster, iteration, iteration)
        uploader.put_batch(numbers(iteration), numbers(-iteration))

    for scheme, path in ((POINTS, out), ("training", tmp_path / "of the list")):
        assert record(on_cluster, path, scheme, until_idle_s=0.05).batches == 10
    for node in cluster.nodes:
        node.flushall()
    for path in (out, tmp_path / "of the list"):
        assert replay(on_cluster, path, speed=AS_FAST_AS_POSSIBLE).batches == 10

    assert make_plain_feed(sample_prefix="points").samples.tolist() == list(range(10))
    assert make_plain_feed(data_info_or_list_name="training").targets.tolist() == [-i for i in range(10)]


def test_chunks_hold_whole_batches_and_are_neither_small_nor_large():
    numbers_column = Column(np.dtype("float32"), ())
    fields = Column(np.dtype("float32"), (3, 256, 256))

    assert chunk_shape(32, numbers_column) == (32 * 2048,)
    assert chunk_shape(4, fields) == (4, 3, 256, 256)
    assert chunk_shape(100, fields) == (50, 3, 256, 256)
    assert chunk_shape(0, fields) == (1, 3, 256, 256)
    huge = chunk_shape(2, Column(np.dtype("float64"), (3, 1024, 1024, 64)))
    assert huge[0] == 1
    assert np.prod(huge) * 8 <= 2**26


def test_rows_are_written_chunk_by_chunk():
    assert list(chunk_regions(5, 5, (4,), (100,))) == []
    assert list(chunk_regions(3, 9, (4,), (100,))) == [(slice(3, 4),), (slice(4, 8),), (slice(8, 9),)]
    assert list(chunk_regions(4, 5, (4, 2), (100, 3))) == [
        (slice(4, 5), slice(0, 2)),
        (slice(4, 5), slice(2, 3)),
    ]
