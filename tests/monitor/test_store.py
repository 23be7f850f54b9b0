"""The store: what it keeps through crashes and damage, and what its readers see."""

import logging
import os
import resource
import shutil
import signal
import threading
import time
import uuid
from contextlib import closing

import numpy as np
import pytest

from smartml.errors import ArgumentValueError, MonitorError, RecordsFormatError, RecordsInUseError, RecordsNotFoundError
from smartml.monitor import Cursor, RecordReader, Removal
from smartml.monitor.records_pb2 import Outline
from smartml.monitor.segments import pack, scan
from smartml.monitor.store import RecordStore

from .blocks import block, points


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records"


def opened(path, **options):
    return RecordStore(path, **{"durability": "never", **options})


@pytest.fixture
def store(path):
    made = opened(path)
    made.begin("session", "run", True)
    yield made
    made.close()


def segment(path, number=1, folder=1):
    return path / str(folder) / f"{number:012d}.records"


def write(store, sequence, values, name="loss", session="session"):
    return store.write(session, sequence, [block(name, x=values)])


def test_what_was_written_is_there_when_the_store_is_opened_again(path, store):
    write(store, 1, [1, 2])
    write(store, 2, [0.5])
    store.close()

    with_values = opened(path)
    assert points(with_values.query(None)) == [1, 2, 0.5]
    assert (with_values.scopes(), with_values.names("run"), with_values.points) == (["run"], ["loss"], 3)
    with_values.close()


def test_a_repeated_request_is_kept_once_also_after_a_restart(path, store):
    write(store, 1, [1])
    write(store, 1, [1])
    store.close()
    again = opened(path)
    again.begin("session", "run", True)
    write(again, 1, [1])
    write(again, 2, [2])

    assert points(again.query(None)) == [1, 2]
    again.close()


def test_a_store_cut_at_any_byte_of_its_last_record_keeps_all_others(path, store, tmp_path, caplog):
    write(store, 1, [1, 2])
    before = segment(path).stat().st_size
    write(store, 2, [3, 4, 7], name="later")
    after = segment(path).stat().st_size
    store.close()

    for size in range(before, after):
        cut = tmp_path / "cut"
        shutil.copytree(path, cut)
        os.truncate(segment(cut), size)
        with_less = opened(cut)
        assert points(with_less.query(None)) == [1, 2], size
        # It was never said to be kept, so it is sent again.
        write(with_less, 2, [3, 4, 7], name="later")
        with_less.close()
        reader = RecordReader(cut)
        assert points(reader.query(None)) == [1, 2, 3, 4, 7], size
        assert reader.damaged == 0
        reader.close()
        shutil.rmtree(cut)
    assert "were cut off" in caplog.text


def test_a_reader_beside_a_torn_end_sees_what_is_whole(path, store):
    write(store, 1, [1, 2])
    whole = segment(path).read_bytes()
    reader = RecordReader(path)
    cursor = reader.query(None).cursor
    write(store, 2, [3])
    more = segment(path).read_bytes()

    segment(path).write_bytes(more[:-1])
    assert not reader.query(cursor)
    segment(path).write_bytes(more)
    assert points(reader.query(cursor)) == [3]
    assert len(more) > len(whole)
    reader.close()


def test_a_damaged_byte_costs_its_own_record_at_most(path, store, tmp_path, caplog):
    ends = []
    for sequence, values in enumerate(([1, 10], [2, 20], [3, 30]), start=1):
        write(store, sequence, values)
        ends.append(segment(path).stat().st_size)
    store.close()
    content = segment(path).read_bytes()

    for at in range(ends[0], ends[1]):
        segment(path).write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        reader = RecordReader(path)
        assert points(reader.query(None)) == [1, 10, 3, 30], at
        assert reader.damaged == 1
        reader.close()
    again = opened(path)
    write(again, 4, [4])
    assert points(again.query(None)) == [1, 10, 3, 30, 4]
    again.close()


def test_lost_numbers_at_the_end_are_cut_off_like_a_torn_end(path, store):
    write(store, 1, [1, 10])
    write(store, 2, [2, 20])
    store.close()
    content = segment(path).read_bytes()
    # As a power failure leaves it: the length is there, the bytes are not.
    segment(path).write_bytes(content[:-1] + bytes(1))

    again = opened(path)
    assert points(again.query(None)) == [1, 10]
    assert segment(path).stat().st_size < len(content)
    again.close()


def test_no_id_is_given_twice_though_its_owner_was_deleted(path):
    for number in range(4):
        store = opened(path)
        store.begin(f"s{number}", "run", True)
        write(store, 1, [1], session=f"s{number}")
        if number == 1:
            store.delete("run", "loss")
        if number == 2:
            store.delete("run")
            store.compact()
        store.close()

    ids = []
    for file in sorted(path.glob("*/*.records")):
        content = file.read_bytes()
        for record in scan(lambda offset, length, content=content: content[offset : offset + length], 0, len(content)):
            ids += [each.id for each in [*record.outline.scopes, *record.outline.names]]
    assert len(ids) == len(set(ids))
    assert max(ids) == 8


def test_only_one_process_writes(path, store):
    with pytest.raises(RecordsInUseError, match="another process writes to"):
        opened(path)
    store.close()
    opened(path).close()


def test_a_full_disk_leaves_the_store_as_it_was(path, store):
    write(store, 1, [1])
    size = segment(path).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
    try:
        with pytest.raises(MonitorError, match="cannot be written to"):
            write(store, 2, np.random.default_rng(0).random(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert segment(path).stat().st_size == size

    write(store, 2, [2])
    assert points(store.query(None)) == [1, 2]


def test_offsets_go_beyond_four_gibibytes(path):
    store = opened(path, segment_bytes=1 << 40)
    store.begin("session", "run", True)
    write(store, 1, [1])
    store.close()
    # A record of five GiB that nobody asks for: a hole on the disk.
    gap = pack(Outline(), 5 << 30)
    with open(segment(path), "ab") as file:
        file.write(gap)
        file.truncate(file.tell() + (5 << 30))

    again = opened(path, segment_bytes=1 << 40)
    write(again, 2, [2])
    cursor = again.query(None).cursor
    write(again, 3, [3])
    assert points(again.query(cursor)) == [3]
    again.close()
    reader = RecordReader(path)
    assert points(reader.query(None)) == [1, 2, 3]
    assert segment(path).stat().st_size > 5 << 30
    reader.close()


def test_a_large_store_is_kept_in_several_files(path):
    store = opened(path, segment_bytes=2000)
    store.begin("session", "run", True)
    for sequence in range(1, 51):
        write(store, sequence, np.random.default_rng(sequence).integers(0, 2**60, 10))
    everything = points(store.query(None))
    store.close()

    assert len(list(path.glob("1/*.records"))) > 3
    again = RecordReader(path)
    assert points(again.query(None)) == everything
    assert len(everything) == 500
    again.close()


def test_a_question_for_what_is_new_reads_nothing_old(path, store):
    for sequence in range(1, 20):
        write(store, sequence, [sequence])
    reader = RecordReader(path)
    cursor = reader.query(None).cursor
    end = segment(path).stat().st_size
    write(store, 20, [20])
    content = segment(path).read_bytes()
    # Whoever read the old part now would notice.
    segment(path).write_bytes(bytes(end) + content[end:])

    assert points(reader.query(cursor)) == [20]
    assert reader.damaged == 0
    reader.close()


def test_news_are_those_of_matching_scopes_and_names(store):
    store.begin("other", "run-2", True)
    store.write("session", 1, [block("loss", x=[1]), block("loss/val", x=[2]), block("accuracy", 1, x=[3])])
    store.write("other", 1, [block("loss", x=[4])])

    assert points(store.query(None)) == [1, 2, 3, 4]
    assert points(store.query(None, scopes="2$")) == [4]
    assert points(store.query(None, names="loss")) == [1, 2, 4]
    assert points(store.query(None, scopes="^run$", names="^loss$")) == [1]
    with pytest.raises(ArgumentValueError, match=r"names='\(' is no regular expression"):
        store.query(None, names="(")


def test_deleted_points_are_gone_for_new_readers_and_told_to_old_ones(path, store):
    store.write("session", 1, [block("a", x=[1]), block("b", x=[2])])
    cursor = store.query(None).cursor

    store.delete("run", "a")
    update = store.query(cursor)
    assert (update.removed, update.added, update.reset) == ([Removal("run", "a")], [], False)
    assert points(store.query(None)) == [2]
    store.delete("run")
    assert store.query(update.cursor).removed == [Removal("run")]
    assert not store.query(None)
    assert store.scopes() == []
    for scope, name, words in (("run", None, "no scope called 'run'"), ("x", "y", "no scope called 'x'")):
        with pytest.raises(RecordsNotFoundError, match=words):
            store.delete(scope, name)


def test_a_writer_is_told_that_its_name_or_scope_was_deleted(store):
    write(store, 1, [1])
    store.delete("run", "loss")
    [refusal] = write(store, 2, [2])
    assert (refusal.name, refusal.points) == ("loss", 1)
    assert "the name 'loss' was deleted while it was written to" in refusal.reason
    assert write(store, 3, [3], name="other") == []

    store.delete("run")
    [refusal] = write(store, 4, [4], name="other")
    assert "the scope 'run' was deleted" in refusal.reason
    # Who begins after the deletion writes again.
    store.begin("next", "run", False)
    assert write(store, 1, [5], session="next") == []
    assert points(store.query(None)) == [5]


def test_writers_are_still_told_after_compaction_and_restart(path, store):
    store.write("session", 1, [block("a", x=[1]), block("b", x=[2])])
    store.delete("run", "a")
    store.begin("gone", "old", True)
    store.delete("old")
    store.compact()
    store.close()

    again = opened(path)
    assert [refusal.points for refusal in again.write("session", 2, [block("a", x=[1, 2])])] == [2]
    assert "was deleted" in again.write("gone", 1, [block("a", x=[1])])[0].reason
    assert again.write("session", 2, [block("b", x=[9])]) == []
    assert points(again.query(None)) == [2], "the second request had been answered, and this one is its repetition"
    again.close()


def test_other_fields_and_malformed_blocks_are_refused(store):
    write(store, 1, [1])
    [refusal] = store.write("session", 2, [block("loss", y=[1])])
    assert refusal.reason == "the fields of 'loss' are x, not y"

    short = block("short", x=[1.5, 2.5, 7.25])
    short.data = short.data[:-1]
    wide = block("wide", x=[1, 2])
    wide.columns[0].width = 3
    odd = block("odd", x=[1, 2])
    odd.columns[0].type = 9
    none = block("none", x=[1])
    none.points = 0
    refusals = store.write("session", 3, [short, wide, odd, none])
    assert [refusal.name for refusal in refusals] == ["short", "wide", "odd", "none"]
    assert store.names("run") == ["loss"]


def test_who_never_began_cannot_write(store):
    with pytest.raises(RecordsNotFoundError, match="did not begin"):
        write(store, 1, [1], session="unknown")


def test_starting_anew_deletes_and_resuming_continues(store):
    write(store, 1, [1])
    cursor = store.query(None).cursor
    store.begin("resumed", "run", False)
    write(store, 1, [2], session="resumed")
    assert points(store.query(None)) == [1, 2]
    assert points(store.query(cursor)) == [2]

    store.begin("anew", "run", True)
    write(store, 1, [3], session="anew")
    update = store.query(cursor)
    assert (update.removed, points(update)) == ([Removal("run")], [3])
    assert points(store.query(None)) == [3]


def test_compaction_keeps_what_is_live_in_less_room(path, store):
    for sequence in range(1, 101):
        store.write(
            "session", sequence, [block("loss", x=[sequence]), block("gone", x=[1])], ['{"a": 1}'] * (sequence < 3)
        )
    store.delete("run", "gone")
    cursor = store.query(None).cursor
    reader = RecordReader(path)
    reader.query(None)

    before, after = store.compact()
    assert after < before / 5
    assert store.configs() == {"run": [{"a": 1}, {"a": 1}]}
    for source in (store, reader):
        update = source.query(cursor)
        assert update.reset
        assert [len(each) for each in update.added] == [100]
        assert points(update) == list(range(1, 101))
    write(store, 101, [101])
    assert points(reader.query(update.cursor)) == [101]
    reader.close()
    store.close()
    again = opened(path)
    assert points(again.query(None)) == list(range(1, 102))
    again.close()


def test_readers_see_all_at_any_moment_of_compaction(path, store):
    for sequence in range(1, 51):
        write(store, sequence, [sequence])
    over = threading.Event()

    def compact_again_and_again():
        while not over.is_set():
            store.compact()

    thread = threading.Thread(target=compact_again_and_again)
    thread.start()
    try:
        reader = RecordReader(path)
        for _ in range(200):
            assert points(reader.query(None)) == list(range(1, 51))
        for _ in range(20):
            with closing(RecordReader(path)) as another:
                assert points(another.query(None)) == list(range(1, 51))
        reader.close()
    finally:
        over.set()
        thread.join()


def test_a_compaction_that_was_cut_short_changes_nothing(path, store):
    write(store, 1, [1])
    store.close()
    (path / "2").mkdir()
    (path / "2" / "000000000001.records").write_bytes(b"half of a")

    again = opened(path)
    assert points(again.query(None)) == [1]
    assert not (path / "2").exists()
    again.compact()
    assert points(again.query(None)) == [1]
    again.close()


def test_a_cursor_of_another_store_starts_from_the_beginning(store):
    write(store, 1, [1])
    update = store.query(Cursor("another", 1, 7))
    assert update.reset
    assert points(update) == [1]


@pytest.mark.parametrize("kind", ["the writer", "a reader beside it"])
def test_a_subscriber_is_given_what_comes_when_it_comes(store, path, kind):
    source = store if kind == "the writer" else RecordReader(path)
    seen = []
    first = threading.Event()

    def follow():
        for update in source.subscribe(None):
            seen.extend(points(update))
            first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(20)
    for sequence in range(1, 6):
        write(store, sequence, [sequence])
    deadline = time.monotonic() + 20
    while seen != [1, 2, 3, 4, 5]:
        assert time.monotonic() < deadline
    source.close()
    thread.join(20)
    assert not thread.is_alive()


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(RecordsFormatError, match="there is no store of records at"):
        RecordReader(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsFormatError, match="is no folder"):
        RecordReader(tmp_path / "file")
    for content in ("", "[]", '{"format": 1, "x": 2}', "\xff"):
        (tmp_path / "CURRENT").write_text(content, encoding="latin-1")
        with pytest.raises(RecordsFormatError, match="holds no store"):
            RecordReader(tmp_path)
    (tmp_path / "CURRENT").write_text('{"format": 2}')
    with pytest.raises(RecordsFormatError, match="another version"):
        RecordReader(tmp_path)
    for durability in ("sometimes", 0, -1.0, True):
        with pytest.raises(ArgumentValueError, match="durability"):
            RecordStore(tmp_path / "new", durability=durability)


@pytest.mark.parametrize("ending", [".log", ".idx", ""])
def test_the_endings_of_streamvis_name_the_same_store(path, store, ending):
    write(store, 1, [1])
    reader = RecordReader(f"{path}{ending}")
    assert points(reader.query(None)) == [1]
    reader.close()


@pytest.mark.parametrize("durability", ["request", 0.05])
def test_what_must_be_safe_can_be_read_by_others_at_once(path, durability):
    store = RecordStore(path, durability=durability)
    store.begin("session", "run", True)
    write(store, 1, [1])
    write(store, 2, [2])
    reader = RecordReader(path)
    assert points(reader.query(None)) == [1, 2]
    reader.close()
    store.close()


class TestAtAUrl:
    @pytest.fixture
    def url(self):
        return f"memory://{uuid.uuid4().hex}/records"

    def test_segments_are_never_changed(self, url):
        store = opened(url)
        store.begin("session", "run", True)
        write(store, 1, [1])
        reader = RecordReader(url)
        update = reader.query(None)
        write(store, 2, [2])
        assert points(reader.query(update.cursor)) == [2]
        store.close()

        again = opened(url)
        write(again, 3, [3])
        again.delete("run", "loss")
        write(again, 4, [4], name="next")
        assert points(again.query(None)) == [4]
        assert reader.query(update.cursor).removed == [Removal("run", "loss")]
        again.compact()
        update = reader.query(update.cursor)
        assert (update.reset, points(update)) == (True, [4])
        again.close()

    def test_a_torn_object_is_passed_over(self, url, caplog):
        fsspec = pytest.importorskip("fsspec")
        store = opened(url)
        store.begin("session", "run", True)
        write(store, 1, [1])
        write(store, 2, [2])
        store.close()
        memory = fsspec.filesystem("memory")
        last = sorted(memory.find(url.removeprefix("memory:/")))[-2]
        memory.pipe_file(last, memory.cat_file(last)[:-1])

        with caplog.at_level(logging.WARNING):
            again = opened(url)
        assert points(again.query(None)) == [1]
        write(again, 2, [2])
        assert points(again.query(None)) == [1, 2]
        again.close()

    def test_an_unknown_file_system_is_named(self):
        with pytest.raises(ArgumentValueError, match="names no file system"):
            opened("nothing://a/b")
