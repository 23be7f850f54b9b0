"""Stores of samples in memory, in files and in Redis: one law for all, and what is each one's own."""

import gzip
import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import Cluster, Server

from smartml import Client, Dataset
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyNotFoundError,
    MissingDependencyError,
    ShardFormatError,
    StoreConnectionError,
)
from smartml.pipeline.file_stores import FilesystemStore, SquirrelStore
from smartml.pipeline.redis_store import RedisStore
from smartml.pipeline.serializers import JsonSerializer, MessagepackSerializer
from smartml.pipeline.stores import AbstractStore, MemoryStore

fsspec = pytest.importorskip("fsspec", reason="pip install fsspec")
msgpack = pytest.importorskip("msgpack", reason="pip install msgpack")

KINDS = ["memory", "files", "files on memory://", "shards", "shards in JSON on memory://", "Redis"]
FILES = KINDS[1:5]


@pytest.fixture
def make_store(request, tmp_path):
    """Make stores that share one place, of one kind."""
    made = MemoryStore()

    def make(kind, **options):
        if kind == "memory":
            return made
        if kind == "Redis":
            return RedisStore(request.getfixturevalue("client"), **options)
        url = "memory://stores of tests" if "memory" in kind else tmp_path / "st ore"
        if "files" in kind:
            return FilesystemStore(url, MessagepackSerializer(), **options)
        return SquirrelStore(url, JsonSerializer() if "JSON" in kind else MessagepackSerializer(), **options)

    yield make
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=KINDS)
def store(request, make_store):
    return make_store(request.param)


@pytest.fixture(params=FILES)
def file_store(request, make_store):
    return make_store(request.param)


def number_of(value):
    """Return the number in the only sample of a value, which a store of shards returns in an iterator."""
    (sample,) = value if hasattr(value, "__next__") else [value]
    return sample["n"]


def folder_of(store):
    """Return where a store of files lies on its file system."""
    return fsspec.core.url_to_fs(store.url)[1]


# The law of all stores


def test_a_value_comes_back_under_its_key(store):
    store.set({"n": 1}, "one")
    store.set({"n": 2}, key="two")

    assert number_of(store.get("one")) == 1
    assert number_of(store.get("two")) == 2


def test_a_new_key_is_made_where_none_is_given(store):
    keys = [store.set({"n": number}) for number in range(3)]

    assert store.keys() == keys
    assert [number_of(store.get(key)) for key in keys] == [0, 1, 2]


def test_equal_keys_replace_in_silence_and_keep_their_place(store):
    for number, key in enumerate(["a", "b", "a"]):
        store.set({"n": number}, key)

    assert store.keys() == ["a", "b"]
    assert number_of(store.get("a")) == 2


def test_a_missing_key_is_named(store):
    store.set({"n": 1}, "there")

    with pytest.raises(KeyNotFoundError, match="'not there'"):
        store.get("not there")
    with pytest.raises(KeyError):
        store.get("not there")


def test_keys_are_those_of_the_moment(store):
    store.set({"n": 1}, "first")
    keys = store.keys()

    store.set({"n": 2}, "second")

    assert keys == ["first"]


def test_an_empty_store_has_no_keys(store):
    assert store.keys() == []


def test_keys_given_out_are_listed_in_their_order_whenever_they_are_set(store):
    keys = [store.new_key() for _ in range(4)]
    assert store.keys() == []
    with pytest.raises(KeyNotFoundError):
        store.get(keys[0])

    for number in (2, 0, 3):
        store.set({"n": number}, keys[number])

    listed = store.keys()
    assert listed == [keys[0], keys[2], keys[3]]
    assert [number_of(store.get(key)) for key in listed] == [0, 2, 3]


def test_keys_given_out_are_not_the_users(store):
    taken = [store.set({"n": number}, f"{number:08d}") for number in range(5)]

    given = [store.new_key() for _ in range(5)]

    assert len({*taken, *given}) == 10


def test_many_threads_may_set_at_once(store):
    together = threading.Barrier(4)

    def fill(thread):
        together.wait()
        return [store.set({"n": 100 * thread + number}) for number in range(10)]

    with ThreadPoolExecutor(4) as pool:
        keys = [key for keys in pool.map(fill, range(4)) for key in keys]

    assert sorted(store.keys()) == sorted(keys)
    assert sorted(number_of(store.get(key)) for key in keys) == [100 * i + n for i in range(4) for n in range(10)]


def test_a_store_is_known_by_its_methods(store):
    assert isinstance(store, AbstractStore)
    assert not isinstance({}, AbstractStore)


def test_a_store_can_be_pickled(store):
    store.set({"n": 1}, "one")
    reserved = store.new_key()

    copy = pickle.loads(pickle.dumps(store))

    assert number_of(copy.get("one")) == 1
    assert copy.keys() == ["one"]
    # What it makes up is not what the store gave out.
    assert copy.set({"n": 2}) not in (reserved, "one")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_another_store_at_the_same_place_sees_the_same(make_store, kind):
    keys = [make_store(kind).set({"n": number}) for number in range(12)]

    assert make_store(kind).keys() == keys
    assert number_of(make_store(kind).get(keys[7])) == 7


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_clean_store_is_empty(make_store, kind):
    for key in ("a", "b[x]*", "c d"):
        make_store(kind).set({"n": 1}, key)

    cleaned = make_store(kind, clean=True)

    assert cleaned.keys() == []
    with pytest.raises(KeyNotFoundError):
        cleaned.get("a")
    cleaned.set({"n": 2}, "a")
    assert number_of(make_store(kind).get("a")) == 2


@pytest.mark.parametrize("kind", KINDS[1:])
def test_numbers_as_keys_are_text(make_store, kind):
    store = make_store(kind)

    assert store.set({"n": 1}, 7) == "7"
    assert store.set({"n": 2}, np.int64(8)) == "8"
    assert number_of(store.get(7)) == number_of(store.get("7")) == 1
    for wrong in (1.5, True, b"raw", ("a",)):
        with pytest.raises(ArgumentTypeError, match="a key must be text or a whole number"):
            store.set({"n": 1}, wrong)
        with pytest.raises(ArgumentTypeError):
            store.get(wrong)


# In memory


def test_memory_gives_back_the_object_itself():
    store, value = MemoryStore(), object()

    assert store.get(store.set(value)) is value
    assert store.get(store.set(None)) is None


def test_memory_takes_any_key_that_is_hashable():
    store = MemoryStore()
    store.set("value", ("a", 1))

    assert store.get(("a", 1)) == "value"
    with pytest.raises(ArgumentTypeError, match="a key must be hashable, not list"):
        store.set("value", ["a"])


def test_memory_keeps_the_order_of_insertion():
    store = MemoryStore()
    for key in ("z", "a", "m"):
        store.set(0, key)

    assert store.keys() == ["z", "a", "m"]
    assert len(store) == 3
    assert "3 values" in repr(store)


# In files


def test_file_keys_are_sorted(file_store):
    for key in ("z", "a", "m"):
        file_store.set({"n": 0}, key)

    assert file_store.keys() == ["a", "m", "z"]


@pytest.mark.parametrize("key", ["with space", "täxt", "a.b", "...", "a*b[c]?", "~", "a::b", "#1", "%2e", "x.gz", "-"])
def test_odd_names_are_keys_like_others(file_store, key):
    file_store.set({"n": 1}, key)
    file_store.set({"n": 2}, "other")

    assert number_of(file_store.get(key)) == 1
    assert file_store.keys() == sorted([key, "other"])


@pytest.mark.parametrize("kind", ["files", "files on memory://"])
def test_slashes_in_keys_make_folders(make_store, kind):
    store = make_store(kind)
    store.set({"n": 1}, "train/a/1")
    store.set({"n": 2}, "top")

    assert store.get("train/a/1") == {"n": 1}
    assert store.keys() == ["top", "train/a/1"]
    assert store.keys(nested=False) == ["top"]
    # Folders are no values.
    with pytest.raises(KeyNotFoundError):
        store.get("train")
    make_store(kind, clean=True)
    assert store.keys() == []


@pytest.mark.parametrize("kind", ["shards", "shards in JSON on memory://"])
def test_shards_in_folders_are_read_but_not_set(make_store, kind):
    store = make_store(kind)
    store.set({"n": 1}, "top")
    store.fs.makedirs(f"{folder_of(store)}/train")
    store.fs.cp_file(f"{folder_of(store)}/top.gz", f"{folder_of(store)}/train/a.gz")

    assert store.keys() == ["top"]
    assert store.keys(nested=True) == ["top", "train/a"]
    assert list(store.get("train/a")) == [{"n": 1}]
    with pytest.raises(ArgumentValueError, match=r"'train/b' cannot be the key of a shard to set.*st.*ore.*/train"):
        store.set({"n": 2}, "train/b")


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "../outside", "a/../../outside", "..", ".", "a/.", "a//b", "a/", "a://b"),
        *("a\nb", "a\0b", "a\x7f", "..\\outside", "\udc80", "a.unfinished"),
    ],
)
def test_keys_that_could_lead_elsewhere_are_refused(file_store, key, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ArgumentValueError, match="cannot be a key in a store of files"):
        file_store.set({"n": 1}, key)
    with pytest.raises(ArgumentValueError):
        file_store.get(key)

    assert sorted(tmp_path.rglob("*")) == before
    assert file_store.keys(nested=True) == []


def test_a_value_in_the_way_of_a_folder_is_named(tmp_path):
    store = FilesystemStore(tmp_path)
    store.set(b"1", "a")
    store.set(b"2", "b/c")

    for key in ("a/b", "b"):
        with pytest.raises(ArgumentValueError, match=f"key '{key}' of .* is in the way of others"):
            store.set(b"3", key)

    assert store.keys() == ["a", "b/c"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c"]


def test_a_value_that_cannot_be_written_leaves_nothing_and_the_old_one_as_it_was(file_store):
    file_store.set({"n": 1}, "kept")

    for key in ("kept", "new"):
        with pytest.raises(ArgumentTypeError):
            file_store.set([{"n": 2}, object()], key)

    assert number_of(file_store.get("kept")) == 1
    assert len(file_store.fs.find(folder_of(file_store))) == 1


DIES_WHILE_WRITING = """
import os, sys
from smartml.pipeline.file_stores import SquirrelStore
from smartml.pipeline.serializers import MessagepackSerializer

def samples():
    yield {"n": 2}
    yield {"x": os.urandom(1_000_000)}
    os._exit(7)

class Dying(MessagepackSerializer):
    @staticmethod
    def serialize_shard_to_file(shard, fp, **options):
        MessagepackSerializer.serialize_shard_to_file(samples(), fp, **options)

SquirrelStore(sys.argv[1], Dying()).set([], sys.argv[2])
"""


@pytest.mark.parametrize("key", ["old", "new"])
def test_a_shard_half_written_by_a_crash_is_never_read(tmp_path, key):
    store = SquirrelStore(tmp_path, MessagepackSerializer())
    store.set([{"n": 1}], "old")

    died = subprocess.run([sys.executable, "-c", DIES_WHILE_WRITING, tmp_path, key], capture_output=True, timeout=60)

    assert died.returncode == 7, died.stderr
    assert len(list(tmp_path.iterdir())) == 2
    assert store.keys() == ["old"] and FilesystemStore(tmp_path).keys() == ["old.gz"]
    assert list(store.get("old")) == [{"n": 1}]


def test_what_is_being_written_is_not_listed(tmp_path):
    values = FilesystemStore(tmp_path)
    listed = []

    class Looking:
        @staticmethod
        def serialize_shard_to_file(shard, fp, fs, **options):
            fs.pipe_file(fp, b"half")
            listed.extend([values.keys(), shards.keys()])

    shards = SquirrelStore(tmp_path, Looking())
    shards.set([], "shard")

    assert listed == [[], []]
    assert values.keys() == ["shard.gz"]


def test_files_without_a_serializer_hold_bytes(tmp_path):
    store = FilesystemStore(tmp_path / "not there yet")

    for value in (b"raw", bytearray(b"raw"), memoryview(b"raw")):
        store.set(value, "key")
        assert store.get("key") == b"raw"
    with pytest.raises(ArgumentTypeError, match="without a serializer values are bytes, not dict"):
        store.set({"n": 1})


@pytest.mark.parametrize("serializer", [MessagepackSerializer(), JsonSerializer()])
def test_a_damaged_file_is_named(tmp_path, serializer):
    store = FilesystemStore(tmp_path, serializer)
    store.set({"n": [1, 2, 3]}, "key")
    (tmp_path / "key").write_bytes((tmp_path / "key").read_bytes()[:-1])

    with pytest.raises(ShardFormatError, match=r"/key' is damaged, or of another format: .*Write it again"):
        store.get("key")


def test_files_open_as_they_are_given():
    with pytest.raises(ArgumentValueError, match="'nosuch://a' names no file system"):
        FilesystemStore("nosuch://a")
    with pytest.raises(ArgumentTypeError, match="url must be a path or a URL, not None"):
        FilesystemStore(None)
    with pytest.raises(ArgumentTypeError, match=r"a serializer is needed, not its class: JsonSerializer\(\)"):
        FilesystemStore("a", JsonSerializer)
    with pytest.raises(ArgumentTypeError, match="a SquirrelStore needs a serializer"):
        SquirrelStore("a", None)


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FilesystemStore("here")
    monkeypatch.chdir("/")

    store.set(b"raw", "key")

    assert (tmp_path / "here" / "key").read_bytes() == b"raw"


@pytest.mark.parametrize("folder", [".", "..", "/", "~"])
def test_folders_of_the_user_are_not_cleaned(tmp_path, monkeypatch, folder):
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work" / "precious").touch()
    # No test should ever try the root of the machine for real.
    target = str(tmp_path) if folder == "/" else os.path.expanduser(folder)

    with pytest.raises(ArgumentValueError, match="clean=True would delete everything below"):
        FilesystemStore(target, clean=True)

    assert (tmp_path / "work" / "precious").exists()


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(MissingDependencyError, match=r"smartml\[pipeline\]"):
        FilesystemStore("a")


# Shards


@pytest.fixture
def shards(tmp_path):
    return SquirrelStore(tmp_path, MessagepackSerializer())


def test_a_list_is_a_shard_and_anything_else_a_shard_of_one(shards, tmp_path):
    shards.set([1, 2, 3], "list")
    shards.set((1, 2), "tuple")
    shards.set({"n": 1}, "sample")
    shards.set([], "empty")

    assert list(shards.get("list")) == [1, 2, 3]
    assert list(shards.get("tuple")) == [[1, 2]]
    assert list(shards.get("sample")) == [{"n": 1}]
    assert list(shards.get("empty")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.gz", "list.gz", "sample.gz", "tuple.gz"]


def test_a_shard_is_read_where_get_is_called(shards):
    """So that threads read side by side, and what is wrong shows there."""
    threads = []

    class Noting(MessagepackSerializer):
        @staticmethod
        def deserialize_shard_from_file(*arguments, **options):
            for sample in MessagepackSerializer.deserialize_shard_from_file(*arguments, **options):
                threads.append(threading.current_thread())
                yield sample

    shards.set([{"n": 1}, {"n": 2}], "key")
    with ThreadPoolExecutor(1) as pool:
        samples = pool.submit(SquirrelStore(shards.url, Noting()).get, "key").result()

    assert threading.current_thread() not in threads and len(threads) == 2
    assert next(samples) == {"n": 1} and next(samples) == {"n": 2}
    # It can be sent back from another process.
    assert list(pickle.loads(pickle.dumps(shards.get("key")))) == [{"n": 1}, {"n": 2}]


def test_a_shard_cut_off_is_an_error_before_the_first_sample(shards, tmp_path):
    shards.set([{"n": number} for number in range(100)], "key")
    whole = (tmp_path / "key.gz").read_bytes()

    for length in (0, 1, 20, len(whole) - 9, len(whole) - 1):
        (tmp_path / "key.gz").write_bytes(whole[:length])
        with pytest.raises(ShardFormatError, match=r"key\.gz' is damaged.*Write it again, or delete it"):
            shards.get("key")


def test_only_shards_are_listed(shards, tmp_path):
    shards.set([1], "shard")
    (tmp_path / "README").touch()
    (tmp_path / "sub.gz").mkdir()

    assert shards.keys() == ["shard"]


def test_what_is_asked_of_the_serializer_reaches_it(shards):
    shards.set([[1, 2]], "key")

    assert list(shards.get("key", unpacker_kwargs={"use_list": False})) == [(1, 2)]


def test_shards_of_squirrel_are_found_and_read(tmp_path):
    samples = [{"id": "a", "x": [1, 2]}, {"id": "b", "x": []}]
    (tmp_path / "AB12.gz").write_bytes(gzip.compress(b"".join(map(msgpack.packb, samples))))
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "CD34.gz").write_bytes(gzip.compress(lines.encode()))

    messagepack = SquirrelStore(tmp_path, MessagepackSerializer())
    in_json = SquirrelStore(tmp_path / "json", JsonSerializer())

    assert messagepack.keys() == ["AB12"] and in_json.keys() == ["CD34"]
    assert list(messagepack.get("AB12")) == list(in_json.get("CD34")) == samples


# In Redis


@pytest.fixture
def redis_store(client):
    with RedisStore(client, prefix="run") as store:
        yield store


def test_an_array_is_a_tensor_for_everybody(client, redis_store):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    redis_store.set(array, "a")
    client.put_tensor("run/b", array + 1)

    assert np.array_equal(client.get_tensor("run/a"), array)
    back = redis_store.get("b")
    assert back.dtype == np.float32 and np.array_equal(back, array + 1)
    back[0, 0] = 7
    assert redis_store.get("b")[0, 0] == 1


def test_a_dictionary_is_a_dataset_for_everybody(client, redis_store):
    redis_store.set({"x": np.zeros((2, 3)), "label": 5, "split": "train"}, "a")

    dataset = client.get_dataset("run/a")
    assert dataset.get_tensor("x").shape == (2, 3)
    assert dataset.get_meta_scalars("label").tolist() == [5]
    assert dataset.get_meta_strings("split") == ["train"]


def test_a_dictionary_comes_back_with_its_types(redis_store):
    sample = {
        "array": np.arange(3, dtype=np.int16),
        "whole": 5,
        "negative": -(2**63),
        "large": 2**64 - 1,
        "floating": 0.1,
        "text": "täxt",
        "empty": "",
        "single": np.float32(0.5),
        "small": np.uint8(3),
        "yes": np.bool_(True),
    }

    back = redis_store.get(redis_store.set(sample))

    assert back.keys() == sample.keys()
    for name, value in sample.items():
        assert type(back[name]) is type(value), name
        assert np.array_equal(back[name], value), name
    assert back["array"].dtype == np.int16


def test_truth_values_come_back_as_numpys(redis_store):
    back = redis_store.get(redis_store.set({"yes": True, "no": False}))

    assert back == {"yes": True, "no": False}
    assert type(back["yes"]) is np.bool_


def test_tensors_of_torch_are_arrays(redis_store):
    torch = pytest.importorskip("torch", reason="pip install torch")

    redis_store.set(torch.ones(2), "a")
    redis_store.set({"x": torch.ones(3)}, "b")

    assert redis_store.get("a").tolist() == [1, 1]
    assert redis_store.get("b")["x"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "values in a RedisStore are numpy arrays, or dictionaries .* not int: 5"),
        ("text", "not str"),
        (b"raw", "not bytes"),
        (None, "not NoneType"),
        ([np.zeros(2)], "not list"),
        ({"x": {"y": 1}}, "the value 'x' of a dictionary in a RedisStore .* not dict"),
        ({"x": [1, 2]}, "not list"),
        ({"x": None}, "not NoneType"),
        ({"x": b"raw"}, "not bytes"),
        ({1: np.zeros(2)}, "names in a dictionary must be text, not int: 1"),
        ({"x": 2**64}, "metadata takes one number"),
        ({"x": np.array(["a"])}, "dtype 'str32' cannot be stored as a tensor"),
        (np.array([object()]), "dtype 'object' cannot be stored"),
    ],
)
def test_other_values_are_refused_with_what_is_taken(redis_store, value, reason):
    with pytest.raises(ArgumentTypeError, match=reason):
        redis_store.set(value, "key")

    assert redis_store.keys() == []


@pytest.mark.parametrize("sample", [{}, {"meta": np.zeros(1)}, {".COMPLETE": "x"}, {"": 1}])
def test_dictionaries_that_no_dataset_can_hold_are_refused(redis_store, sample):
    with pytest.raises(ArgumentValueError):
        redis_store.set(sample, "key")

    assert redis_store.keys() == []


def test_redis_keeps_the_order_of_insertion(redis_store):
    for key in ("z", "a", "m", "a"):
        redis_store.set(np.zeros(1), key)

    assert redis_store.keys() == ["z", "a", "m"]


def test_a_value_of_the_other_kind_replaces_as_well(client, redis_store):
    fresh = RedisStore(client, prefix="run")
    redis_store.set(np.zeros(2), "key")
    redis_store.set({"x": np.ones(1)}, "key")

    assert redis_store.get("key") == fresh.get("key") == {"x": 1}
    assert not client.tensor_exists("run/key")

    redis_store.set(np.ones(3), "key")

    assert redis_store.get("key").tolist() == fresh.get("key").tolist() == [1, 1, 1]
    assert not client.dataset_exists("run/key")
    assert redis_store.keys() == ["key"]


def test_a_value_set_as_both_kinds_at_once_is_one_of_them(client):
    stores = [RedisStore(client, prefix="run") for _ in range(2)]
    values = [np.zeros(2), {"x": np.ones(1)}]
    together = threading.Barrier(2)

    def set_many(store, value):
        for _ in range(50):
            together.wait()
            store.set(value, "key")
            together.wait()
            assert store.get("key") is not None

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(set_many, stores, values))


@pytest.mark.parametrize("key", ["a/b", "..", "new\nline", "täxt", "{a}", "}", "*", "with space"])
def test_odd_keys_are_keys_like_others_in_redis(redis_store, key):
    redis_store.set({"x": np.zeros(1)}, key)
    redis_store.set(np.zeros(2), key + "2")

    assert redis_store.keys() == [key, key + "2"]
    assert redis_store.get(key)["x"].shape == (1,)
    assert redis_store.get(key + "2").shape == (2,)


def test_an_empty_key_is_refused_in_redis(redis_store):
    with pytest.raises(ArgumentValueError, match="must not be empty"):
        redis_store.set(np.zeros(1), "")


def test_stores_of_other_prefixes_are_others(client):
    one, other = RedisStore(client, prefix="a"), RedisStore(client, prefix="a.b")
    one.set(np.zeros(1), "b.c")
    other.set(np.zeros(2), "c")

    RedisStore(client, prefix="a", clean=True)

    assert one.keys() == [] and other.keys() == ["c"]
    assert other.get("c").shape == (2,)
    with pytest.raises(ArgumentValueError, match="a prefix has no slash in it"):
        RedisStore(client, prefix="a/b")


def test_prefixes_of_entities_play_no_part(client, monkeypatch):
    monkeypatch.setenv("SSKEYOUT", "producer")
    RedisStore().set(np.zeros(1), "key")
    monkeypatch.setenv("SSKEYOUT", "")
    monkeypatch.setenv("SSKEYIN", "other")

    with Client() as reader:
        reader.put_tensor("x", np.zeros(1))
        assert RedisStore(reader).get("key").shape == (1,)
        # The client that was handed in goes on as before.
        assert not reader.tensor_exists("samples/key")


def test_the_database_is_given_in_many_ways(client, server):
    RedisStore(client).set(np.zeros(1), "key")

    for address in (None, server.address, [server.address], f"redis://{server.address}"):
        with RedisStore(address) as store:
            assert store.keys() == ["key"]
            assert server.address in repr(store)
    with pytest.raises(ArgumentTypeError, match="a Client, an address or a URL is needed, not int"):
        RedisStore(6379)


def test_a_value_deleted_by_others_is_told_from_one_never_set(client, redis_store):
    redis_store.set(np.zeros(1), "key")
    client.delete_tensor("run/key")

    with pytest.raises(KeyNotFoundError, match=r"'key'.*was deleted, though it is still listed"):
        redis_store.get("key")


def test_datasets_of_other_programs_are_read(client, redis_store):
    dataset = Dataset("run/a")
    for text in ("x", "y"):
        dataset.add_meta_string("names", text)
    for number in (1, 2):
        dataset.add_meta_scalar("numbers", number)
    client.put_dataset(dataset)

    back = redis_store.get("a")

    assert back["names"] == ["x", "y"] and back["numbers"].tolist() == [1, 2]


def test_redis_may_be_a_cluster(tmp_path):
    with Cluster(tmp_path) as cluster, RedisStore(cluster.address) as store:
        keys = [store.set({"n": number, "x": np.full(3, number)}) for number in range(10)]
        keys.append(store.set(np.zeros(2), "array"))
        store.set({"n": 10}, "array")

        assert store.keys() == keys
        assert [store.get(key)["n"] for key in keys] == list(range(11))

        RedisStore(cluster.address, clean=True).close()
        assert store.keys() == []
        assert not any(node.dbsize() for node in cluster.nodes)


FILL = """
import sys
import numpy as np
from smartml.pipeline.redis_store import RedisStore

store = RedisStore(sys.argv[1])
print(*[store.set({"n": number}) for number in range(50)])
"""


def test_many_processes_may_fill_one_store(client, server):
    started = [
        subprocess.Popen([sys.executable, "-c", FILL, server.address], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].split() for process in started]

    store = RedisStore(client)
    keys = store.keys()
    assert sorted(keys) == sorted(key for output in outputs for key in output)
    assert len(set(keys)) == 150
    # Each one's keys come in its own order.
    for output in outputs:
        assert [key for key in keys if key in output] == output
        assert [store.get(key)["n"] for key in output] == list(range(50))


def test_keys_keep_their_order_when_the_server_starts_again(tmp_path, client):
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        store = RedisStore(server.address)
        for key in ("z", "a", "m"):
            store.set(np.zeros(3), key)
        reserved = store.new_key()

        server.kill()
        with pytest.raises(StoreConnectionError):
            store.keys()
        server.start()

        assert store.keys() == ["z", "a", "m"]
        store.set(np.zeros(1), "b")
        store.set(np.zeros(1), reserved)
        assert store.keys() == ["z", "a", "m", reserved, "b"]
        store.close()
    finally:
        server.kill()
