"""SmartRedis's commands for tensors: what RedisAI replies and refuses, over plain strings."""

import numpy as np
import pytest
import redis

from smartml import tensors
from smartml.errors import StoreReplyError

# The texts are RedisAI's own, by which programs go; redis-py takes the code "ERR" off.
ARITY = "wrong number of arguments for '{}' command"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_TENSOR = "tensor key is empty or in a different shard"
BAD_TYPE = "invalid data type"
BAD_SHAPE = "invalid or negative value found in tensor shape"
BAD_VALUE = "invalid value"
BAD_COUNT = "wrong number of values was given in 'AI.TENSORSET' command"
BAD_BLOB_COUNT = "a single binary string should come after the BLOB argument in 'AI.TENSORSET' command"
BAD_LENGTH = "data length does not match tensor shape and type"
NOT_OFFERED = "smartml does not offer this command: run models one by one"

DTYPES = {
    "DOUBLE": "f8",
    "FLOAT": "f4",
    "INT8": "i1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "UINT8": "u1",
    "UINT16": "u2",
    "BOOL": "?",
}
SHAPES = [(1,), (7,), (2, 3), (3, 1, 2), (1,) * 32, (), (70_000,), (3, 100_000)]


def value_of(array):
    """Return the bytes that smartml stores."""
    payload, description = tensors.encode(array)
    return bytes(payload) + description


def random_array(dtype, shape):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = np.random.default_rng(1).integers(0, 256, size, "u1").view("u1" if dtype == "?" else dtype).reshape(shape)
    return array > 127 if dtype == "?" else array


@pytest.fixture
def reply_to(raw):
    def reply_to(text):
        return raw.execute_command(*text.split())

    return reply_to


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_a_tensor_is_stored_as_the_value_that_the_client_stores(raw, client, name, shape):
    array = random_array(DTYPES[name], shape)

    assert raw.execute_command("AI.TENSORSET", "theirs", name, *shape, "BLOB", array.tobytes()) == b"OK"
    client.put_tensor("ours", array)

    assert raw.get("theirs") == raw.get("ours") == value_of(array)
    np.testing.assert_array_equal(client.get_tensor("theirs"), array, strict=True)
    reply = raw.execute_command("AI.TENSORGET", "ours", "META", "BLOB")
    assert reply == [b"dtype", name.encode(), b"shape", list(shape), b"blob", array.tobytes()]


def test_words_are_taken_in_any_case(reply_to):
    assert reply_to("ai.tensorset t float 2 values 1 2.5") == b"OK"
    assert reply_to("ai.tensorget t meta values") == [b"dtype", b"FLOAT", b"shape", [2], b"values", [1, 2.5]]


@pytest.mark.parametrize("name", DTYPES)
def test_without_content_a_tensor_is_filled_with_zeros(raw, client, name):
    raw.execute_command("AI.TENSORSET", "t", name, 2, 3)

    np.testing.assert_array_equal(client.get_tensor("t"), np.zeros((2, 3), DTYPES[name]), strict=True)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("DOUBLE", "1 -2.5 0.1 1e300 -inf", [1, -2.5, 0.1, 1e300, -np.inf]),
        ("FLOAT", "1 -2.5 0.1 inf", [1, -2.5, np.float32(0.1), np.inf]),
        ("INT8", "0 127", [0, 127]),
        ("INT16", "0 32767", [0, 32767]),
        ("INT32", "0 2147483647", [0, 2**31 - 1]),
        ("INT64", "0 9223372036854775807", [0, 2**63 - 1]),
        ("UINT8", "0 255", [0, 255]),
        ("UINT16", "0 65535", [0, 65535]),
        ("BOOL", "0 1 1", [False, True, True]),
    ],
)
def test_values_are_given_and_read_as_numbers(raw, client, name, given, expected):
    raw.execute_command("AI.TENSORSET", "t", name, len(expected), "VALUES", *given.split())

    np.testing.assert_array_equal(client.get_tensor("t"), np.array(expected, DTYPES[name]), strict=True)
    assert [float(value) for value in raw.execute_command("AI.TENSORGET", "t", "VALUES")] == [*map(float, expected)]


def test_negative_whole_numbers_that_came_as_bytes_are_read_as_numbers(raw):
    for name in ("INT8", "INT16", "INT32", "INT64"):
        array = np.array([-1, -128, 127, 0], DTYPES[name])
        raw.execute_command("AI.TENSORSET", "t", name, 4, "BLOB", array.tobytes())
        assert raw.execute_command("AI.TENSORGET", "t", "VALUES") == [-1, -128, 127, 0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [b"dtype", b"INT8", b"shape", [2], b"blob", b"\x01\x02"]),
        ("META", [b"dtype", b"INT8", b"shape", [2]]),
        ("BLOB META", [b"dtype", b"INT8", b"shape", [2], b"blob", b"\x01\x02"]),
        ("VALUES META", [b"dtype", b"INT8", b"shape", [2], b"values", [1, 2]]),
        ("BLOB", b"\x01\x02"),
        ("BLOB BLOB", b"\x01\x02"),
        ("VALUES", [1, 2]),
    ],
)
def test_a_reply_holds_what_was_asked_for(reply_to, words, expected):
    reply_to("AI.TENSORSET t INT8 2 VALUES 1 2")

    assert reply_to(f"AI.TENSORGET t {words}") == expected


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("AI.TENSORSET", ARITY.format("AI.TENSORSET")),
        ("AI.TENSORSET t", ARITY.format("AI.TENSORSET")),
        ("ai.tensorset t FLOAT", ARITY.format("AI.TENSORSET")),
        ("AI.TENSORSET t INT128 2", BAD_TYPE),
        ("AI.TENSORSET t UINT32 2", BAD_TYPE),
        ("AI.TENSORSET t STRING 1 VALUES a", BAD_TYPE),
        ("AI.TENSORSET t FLOAT 2 0", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT -1", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT 2.0", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT two VALUES 1 2", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT 9223372036854775808", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT 4611686018427387904 4611686018427387904", BAD_SHAPE),
        (f"AI.TENSORSET t INT8 {'1 ' * 33}", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT 9223372036854775807 BLOB a", BAD_SHAPE),
        ("AI.TENSORSET t FLOAT 1000000000", "a tensor of more than 512 MiB must be sent as BLOB"),
        ("AI.TENSORSET t FLOAT 2 VALUES 1", BAD_COUNT),
        ("AI.TENSORSET t FLOAT 2 VALUES 1 2 3", BAD_COUNT),
        ("AI.TENSORSET t FLOAT 2 VALUES", BAD_COUNT),
        ("AI.TENSORSET t FLOAT 1 VALUES one", BAD_VALUE),
        ("AI.TENSORSET t FLOAT 1 VALUES nan", BAD_VALUE),
        ("AI.TENSORSET t FLOAT 1 VALUES 1e39", BAD_VALUE),
        ("AI.TENSORSET t INT8 1 VALUES 128", BAD_VALUE),
        ("AI.TENSORSET t INT8 1 VALUES -1", BAD_VALUE),
        ("AI.TENSORSET t INT32 1 VALUES 1.0", BAD_VALUE),
        ("AI.TENSORSET t UINT8 2 VALUES 1 256", BAD_VALUE),
        ("AI.TENSORSET t BOOL 1 VALUES 2", BAD_VALUE),
        ("AI.TENSORSET t FLOAT 1 BLOB", BAD_BLOB_COUNT),
        ("AI.TENSORSET t FLOAT 1 BLOB abcd abcd", BAD_BLOB_COUNT),
        ("AI.TENSORSET t FLOAT 1 BLOB abc", BAD_LENGTH),
        ("AI.TENSORSET t FLOAT 2 BLOB abcdefghi", BAD_LENGTH),
        ("AI.TENSORSET t BOOL 2 BLOB ab", "BOOL tensor elements must be 0 or 1"),
        ("AI.TENSORGET", ARITY.format("AI.TENSORGET")),
        ("ai.tensorget t META BLOB VALUES", ARITY.format("AI.TENSORGET")),
        ("AI.TENSORGET missing", NO_TENSOR),
        ("AI.TENSORGET missing NONSENSE", NO_TENSOR),
        ("AI.TENSORGET there NONSENSE", "unsupported data format"),
        ("AI.TENSORGET there BLOB VALUES", "both BLOB and VALUES specified"),
        ("AI.CONFIG", ARITY.format("AI.CONFIG")),
        ("AI.CONFIG GET", ARITY.format("AI.CONFIG")),
        ("AI.CONFIG LOADBACKEND TORCH", ARITY.format("AI.CONFIG")),
        ("AI.CONFIG NONSENSE", "unsupported subcommand"),
        ("AI.CONFIG MODEL_CHUNK_SIZE", "MODEL_CHUNK_SIZE: missing chunk size"),
        ("AI.CONFIG MODEL_CHUNK_SIZE 0", "MODEL_CHUNK_SIZE: invalid chunk size"),
        ("AI.CONFIG MODEL_CHUNK_SIZE x", "MODEL_CHUNK_SIZE: invalid chunk size"),
        ("AI.CONFIG BACKENDSPATH", "BACKENDSPATH: missing path argument"),
        ("AI.INFO", ARITY.format("AI.INFO")),
        ("AI.INFO model", "cannot find run info for key"),
        ("AI.INFO model RESETSTAT", "cannot find run info for key"),
    ],
)
def test_what_is_wrong_is_refused_in_the_words_of_redisai(raw, error_of, command, error):
    raw.execute_command("AI.TENSORSET", "there", "FLOAT", 1)

    assert error_of(command) == error
    assert raw.keys() == [b"there"]


def test_errors_carry_the_code_err(client):
    with pytest.raises(StoreReplyError, match="ERR tensor key is empty"):
        client.database.commands(b"t", (b"AI.TENSORGET", b"t"))[0]


@pytest.mark.parametrize("kind", ["string", "short string", "number", "hash", "list"])
def test_a_key_of_another_kind_is_neither_read_nor_replaced(raw, error_of, kind):
    make = {
        "string": lambda: raw.set("k", "a string that holds no tensor, whatever its length may be"),
        "short string": lambda: raw.set("k", "SMT1"),
        "number": lambda: raw.set("k", 12345),
        "hash": lambda: raw.hset("k", "field", "value"),
        "list": lambda: raw.rpush("k", "entry"),
    }
    make[kind]()
    before = raw.dump("k")

    assert error_of("AI.TENSORGET k") == WRONG_TYPE
    # The key comes first, however wrong the rest is.
    assert error_of("AI.TENSORSET k NONSENSE x") == WRONG_TYPE
    assert error_of("AI.TENSORSET k FLOAT 1") == WRONG_TYPE
    assert raw.dump("k") == before


def test_a_tensor_of_another_shape_and_dtype_is_replaced_with_its_time_to_live(raw, client):
    client.put_tensor("t", np.zeros((3, 3), "c16"))
    raw.expire("t", 1000)

    raw.execute_command("AI.TENSORSET", "t", "INT8", 1, "VALUES", 5)

    assert client.get_tensor("t").tolist() == [5]
    assert raw.ttl("t") == -1


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "float16", "complex64", "complex128"])
def test_a_tensor_that_smartredis_has_no_type_for_is_refused_with_the_reason(client, error_of, dtype):
    client.put_tensor("t", np.zeros(2, dtype))

    for words in ("", "META", "BLOB", "VALUES"):
        assert "a data type that SmartRedis does not know" in error_of(f"AI.TENSORGET t {words}")


def test_an_empty_tensor_of_ours_is_read(raw, client):
    client.put_tensor("t", np.zeros((2, 0, 3), "f4"))

    reply = raw.execute_command("AI.TENSORGET", "t")
    assert reply == [b"dtype", b"FLOAT", b"shape", [2, 0, 3], b"blob", b""]


def test_a_damaged_tensor_is_not_handed_out_and_can_be_put_again(raw, error_of):
    whole = value_of(np.arange(6, dtype="i4").reshape(2, 3))
    for damaged in (whole[1:], b"x" + whole, whole[:24] + b"\x09" + whole[25:], whole[-8:]):
        raw.set("t", damaged)
        assert error_of("AI.TENSORGET t").startswith("the tensor is damaged: its bytes do not add up")
    raw.execute_command("AI.TENSORSET", "t", "INT8", 1, "VALUES", 5)
    assert raw.execute_command("AI.TENSORGET", "t", "VALUES") == [5]


def test_the_chunk_size_of_models_is_kept_as_clients_set_it(reply_to):
    assert reply_to("AI.CONFIG GET MODEL_CHUNK_SIZE") == 535_822_336
    assert reply_to("AI.CONFIG MODEL_CHUNK_SIZE 1000000") == b"OK"
    assert reply_to("AI.CONFIG GET model_chunk_size") == 1_000_000
    reply_to("AI.CONFIG MODEL_CHUNK_SIZE 535822336")
    assert reply_to("AI.CONFIG GET BACKENDSPATH") is None
    assert reply_to("AI.CONFIG GET NONSENSE") is None


OTHERS = ["AI._MODELSCAN", "AI._SCRIPTSCAN", "AI.DAGRUN", "AI.DAGRUN_RO", "AI.DAGEXECUTE", "AI.DAGEXECUTE_RO"]


@pytest.mark.parametrize("command", OTHERS)
def test_commands_that_clients_never_send_name_the_way_round(error_of, command):
    assert error_of(f"{command} key CPU").startswith(NOT_OFFERED)
    assert error_of(command).startswith(NOT_OFFERED)


@pytest.mark.parametrize(("protocol", "kind"), [(2, bytes), (3, float)])
def test_floating_point_numbers_come_as_text_or_in_their_own_type_of_resp3(raw, server, protocol, kind):
    host, port = server.address.split(":")
    with redis.Redis(host=host, port=int(port), protocol=protocol) as connected:
        connected.execute_command("AI.TENSORSET", "t", "DOUBLE", 4, "VALUES", 1, 2.5, 0.1, "-inf")
        values = connected.execute_command("AI.TENSORGET", "t", "VALUES")
    assert {type(value) for value in values} == {kind}
    # To the last digit: the servers differ in how many they write.
    assert [float(value) for value in values] == [1, 2.5, 0.1, -np.inf]


def test_several_tensors_are_set_in_one_transaction_and_from_a_script(raw):
    with raw.pipeline(transaction=True) as together:
        for number in range(3):
            together.execute_command("AI.TENSORSET", f"t{number}", "UINT8", 3, "BLOB", bytes([number] * 3))
        assert together.execute() == [b"OK"] * 3
    call = "return redis.call('AI.TENSORSET', KEYS[1], 'UINT8', 3, 'BLOB', ARGV[1])"
    raw.eval(call, 1, "t3", b"\3\3\3")
    for number in range(4):
        assert raw.get(f"t{number}") == value_of(np.full(3, number, "u1"))


def test_a_transaction_that_watches_a_tensor_notices_that_it_was_set(raw):
    with raw.pipeline() as watching:
        watching.watch("t")
        raw.execute_command("AI.TENSORSET", "t", "INT8", 1)
        watching.multi()
        watching.set("other", 1)
        with pytest.raises(redis.WatchError):
            watching.execute()


def test_setting_a_tensor_is_an_event_of_its_key(raw):
    raw.config_set("notify-keyspace-events", "K$")
    with raw.pubsub() as events:
        events.psubscribe("__keyspace@0__:t")
        assert events.get_message(timeout=5)["type"] == "psubscribe"
        raw.execute_command("AI.TENSORSET", "t", "INT8", 1)
        assert events.get_message(timeout=5)["data"] == b"set"
    raw.config_set("notify-keyspace-events", "")


def test_a_full_database_takes_no_tensor(raw, error_of):
    raw.config_set("maxmemory", 1)
    try:
        assert "command not allowed when used memory > 'maxmemory'" in error_of("AI.TENSORSET t INT8 1")
    finally:
        raw.config_set("maxmemory", 0)


def test_a_large_payload_is_not_stored_with_slack(raw):
    """Growing a string doubles its allocation at worst; the module gives back what it does not need."""
    ratios = []
    for elements in (1_000, 30_000, 100_000, 250_000, 1_000_000):
        array = np.ones(elements, "f8")
        raw.execute_command("AI.TENSORSET", "theirs", "DOUBLE", elements, "BLOB", array.tobytes())
        raw.set("plain", value_of(array))
        ratios.append(raw.memory_usage("theirs") / raw.memory_usage("plain"))
    # Redis up to 6.2 lets a module append, but not give back: at most 1 MiB on top of a large value.
    assert max(ratios) <= 1.2, ratios


def test_keys_are_declared_for_routing_and_access_control(raw):
    for name in ("AI.TENSORSET", "AI.TENSORGET", "AI.INFO", "AI.MODELSTORE"):
        assert raw.command_getkeys(name, "key", "a", "b") == ["key"]


@pytest.fixture
def restricted(raw, server):
    """Log in as a user with given rights."""
    host, port = server.address.split(":")
    opened = []

    def log_in(*rules):
        raw.execute_command("ACL", "SETUSER", "someone", "reset", "on", ">secret", *rules)
        opened.append(redis.Redis(host=host, port=int(port), username="someone", password="secret"))
        return opened[-1]

    yield log_in
    for one in opened:
        one.close()
    raw.execute_command("ACL", "DELUSER", "someone")


def test_access_to_keys_is_controlled(raw, restricted):
    user = restricted("+@all", "~own:*")

    user.execute_command("AI.TENSORSET", "own:t", "INT8", 1)
    for command in (("AI.TENSORSET", "other", "INT8", 1), ("AI.TENSORGET", "other")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            user.execute_command(*command)


def test_a_user_may_have_the_right_to_read_or_to_write_alone(raw, restricted):
    if raw.info("server")["redis_version"] < "7":
        pytest.skip("Redis 7.0 brought rights to read and to write")
    raw.execute_command("AI.TENSORSET", "in:t", "INT8", 1)
    user = restricted("+@all", "%R~in:*", "%W~out:*")

    user.execute_command("AI.TENSORSET", "out:t", "INT8", 1)
    assert user.execute_command("AI.TENSORGET", "in:t", "VALUES") == [0]
    for command in (("AI.TENSORSET", "in:t", "INT8", 1), ("AI.TENSORGET", "out:t")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            user.execute_command(*command)
