"""SmartRedis's commands that store, show and delete models and scripts: what RedisAI replies and refuses."""

import struct

import pytest
import redis

from smartml.inference.values import read_model

# RedisAI's own texts, as in test_commands.py.
ARITY = "wrong number of arguments for '{}' command"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
TF = ("AI.MODELSTORE", "m", "TF", "CPU")


def test_a_model_is_given_back_as_it_was_stored(raw):
    model = bytes(range(256)) * 40

    options = ("TAG", "v1", "BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50)
    assert raw.execute_command("AI.MODELSTORE", "m", "torch", "gpu:1", *options, "BLOB", model) == b"OK"

    assert raw.execute_command("AI.MODELGET", "m", "BLOB") == model
    meta = raw.execute_command("AI.MODELGET", "m", "META")
    assert meta == [
        *(b"backend", b"TORCH", b"device", b"GPU:1", b"tag", b"v1", b"batchsize", 8, b"minbatchsize", 2),
        *(b"inputs", [], b"outputs", [], b"minbatchtimeout", 50),
    ]
    assert raw.execute_command("AI.MODELGET", "m") == [*meta, b"blob", model]


def test_inputs_and_outputs_are_named_for_tensorflow(raw):
    names = ("INPUTS", 2, "a", "b", "OUTPUTS", 1, "c")
    raw.execute_command(*TF, *names, "BLOB", b"a graph")

    meta = dict(zip(*[iter(raw.execute_command("AI.MODELGET", "m", "META"))] * 2, strict=True))
    assert (meta[b"inputs"], meta[b"outputs"]) == ([b"a", b"b"], [b"c"])

    raw.execute_command("AI.MODELSET", "old", "TF", "CPU", "INPUTS", "a", "b", "OUTPUTS", "c", "BLOB", b"a graph")
    assert raw.execute_command("AI.MODELGET", "old", "META") == raw.execute_command("AI.MODELGET", "m", "META")


def test_chunks_are_joined_and_come_back_in_one_piece(raw):
    raw.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", b"ab", b"", b"cde")

    assert raw.execute_command("AI.MODELGET", "m", "BLOB") == b"abcde"


def test_a_script_is_given_back_as_it_was_stored(raw):
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "TAG", "t", "SOURCE", "def f(x): return x")
    raw.execute_command("AI.SCRIPTSTORE", "e", "GPU", "ENTRY_POINTS", 2, "f", "g", "SOURCE", "def f(x): return x")

    assert raw.execute_command("AI.SCRIPTGET", "s", "SOURCE") == b"def f(x): return x"
    assert raw.execute_command("AI.SCRIPTGET", "s", "META") == [
        *(b"device", b"CPU", b"tag", b"t", b"Entry Points", []),
    ]
    assert raw.execute_command("AI.SCRIPTGET", "e") == [
        *(b"device", b"GPU", b"tag", b"", b"Entry Points", [b"f", b"g"], b"source", b"def f(x): return x"),
    ]


def test_a_model_or_script_that_was_deleted_is_gone(raw, error_of):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"x")
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "x")

    assert raw.execute_command("AI.MODELDEL", "m") == raw.execute_command("AI.SCRIPTDEL", "s") == b"OK"

    assert raw.exists("m", "s") == 0
    for command in ("AI.MODELDEL m", "AI.MODELGET m", "AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b"):
        assert error_of(command) == "model key is empty"
    for command in ("AI.SCRIPTDEL s", "AI.SCRIPTGET s", "AI.SCRIPTRUN s f INPUTS a OUTPUTS b"):
        assert error_of(command) == "script key is empty"


@pytest.mark.parametrize("command", ["AI.MODELGET {}", "AI.MODELDEL {}", "AI.MODELEXECUTE {} INPUTS 1 a OUTPUTS 1 b"])
@pytest.mark.parametrize("key", ["text", "list", "tensor", "script"])
def test_what_is_no_model_is_refused_and_stays(raw, error_of, command, key):
    raw.set("text", "plain")
    raw.rpush("list", "x")
    raw.execute_command("AI.TENSORSET", "tensor", "FLOAT", 1)
    raw.execute_command("AI.SCRIPTSET", "script", "CPU", "SOURCE", "x")

    assert error_of(command.format(key)) == WRONG_TYPE
    if key != "script":
        assert error_of("AI.MODELSTORE", key, "TORCH", "CPU", "BLOB", b"x") == WRONG_TYPE
    assert raw.exists(key)


def test_a_model_is_no_tensor(raw, error_of):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"x")

    assert error_of("AI.TENSORGET m META") == WRONG_TYPE
    assert error_of("AI.TENSORSET m FLOAT 1") == WRONG_TYPE
    assert raw.execute_command("AI.MODELGET", "m", "BLOB") == b"x"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("AI.MODELSTORE m TORCH", ARITY.format("AI.MODELSTORE")),
        ("AI.MODELSTORE m NOTHING CPU BLOB x", "unsupported backend"),
        ("AI.MODELSTORE m TORCH XPU BLOB x", "Invalid DEVICE"),
        ("AI.MODELSTORE m TORCH CPU:1 BLOB x", "Invalid DEVICE"),
        ("AI.MODELSTORE m TORCH GPU: BLOB x", "Invalid DEVICE"),
        ("AI.MODELSTORE m TORCH CPU", "Insufficient arguments, missing model BLOB"),
        ("AI.MODELSTORE m TORCH CPU BLOB", "Insufficient arguments, missing model BLOB"),
        ("AI.MODELSTORE m TORCH CPU TAG", "Insufficient arguments, missing model BLOB"),
        ("AI.MODELSTORE m TORCH CPU SOURCE x", "Invalid argument, expected BLOB"),
        ("AI.MODELSTORE m TORCH CPU BATCHSIZE x BLOB x", "Invalid argument for BATCHSIZE"),
        ("AI.MODELSTORE m TORCH CPU BATCHSIZE -1 BLOB x", "Invalid argument for BATCHSIZE"),
        ("AI.MODELSTORE m TORCH CPU MINBATCHSIZE 2 BLOB x", "MINBATCHSIZE specified without BATCHSIZE"),
        ("AI.MODELSTORE m TORCH CPU BATCHSIZE 2 MINBATCHSIZE x BLOB x", "Invalid argument for MINBATCHSIZE"),
        (
            "AI.MODELSTORE m TORCH CPU BATCHSIZE 2 MINBATCHTIMEOUT 2 BLOB x",
            "MINBATCHTIMEOUT specified without MINBATCHSIZE",
        ),
        (
            "AI.MODELSTORE m TORCH CPU INPUTS 1 a BLOB x",
            "INPUTS argument should not be specified for this backend",
        ),
        ("AI.MODELSTORE m TF CPU BLOB x", "INPUTS not specified for TF"),
        ("AI.MODELSTORE m TF CPU INPUTS 1 a BLOB x", "OUTPUTS not specified for TF"),
        ("AI.MODELGET", ARITY.format("AI.MODELGET")),
        ("AI.MODELDEL", ARITY.format("AI.MODELDEL")),
        ("AI.MODELEXECUTE m INPUTS", ARITY.format("AI.MODELEXECUTE")),
        ("AI.SCRIPTSET s", ARITY.format("AI.SCRIPTSET")),
        ("AI.SCRIPTSET s XPU SOURCE x", "Invalid DEVICE"),
        ("AI.SCRIPTSET s CPU", "Insufficient arguments, missing script SOURCE"),
        ("AI.SCRIPTSET s CPU SOURCE", "Insufficient arguments, missing script SOURCE"),
        ("AI.SCRIPTSTORE s CPU SOURCE x", "Insufficient arguments, missing script entry points"),
        (
            "AI.SCRIPTSTORE s CPU ENTRY_POINTS x f SOURCE x",
            "Non numeric entry points number provided to AI.SCRIPTSTORE command",
        ),
        ("AI.SCRIPTSTORE s CPU ENTRY_POINTS 1 f", "Insufficient arguments, missing script SOURCE"),
    ],
)
def test_words_that_make_no_sense_are_refused_as_redisai_does(raw, error_of, words, text):
    assert error_of(words) == text
    assert raw.dbsize() == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("OUTPUTS 1 b INPUTS 1 a", "INPUTS not specified"),
        ("INPUTS x a OUTPUTS 1 b", "Invalid argument for input_count"),
        ("INPUTS 0 a OUTPUTS 1 b", "Input count must be a positive integer"),
        (
            "INPUTS 9 a OUTPUTS 1 b",
            "number of input keys to AI.MODELEXECUTE command does not match the number of given",
        ),
        ("INPUTS 1 a TIMEOUT 1 b", "OUTPUTS not specified"),
        ("INPUTS 1 a OUTPUTS x b", "Invalid argument for output_count"),
        ("INPUTS 1 a OUTPUTS -1 b", "Output count must be a positive integer"),
        ("INPUTS 1 a OUTPUTS 2 b", "number of output keys to AI.MODELEXECUTE command does not match the number of"),
        ("INPUTS 1 a OUTPUTS 1 b TIMEOUT", "No value provided for TIMEOUT"),
        ("INPUTS 1 a OUTPUTS 1 b TIMEOUT x", "Invalid value for TIMEOUT"),
        ("INPUTS 1 a OUTPUTS 1 b TIMEOUT 0", "Invalid value for TIMEOUT"),
        ("INPUTS 1 a OUTPUTS 1 b NONSENSE", "Invalid argument"),
        ("INPUTS 1 gone OUTPUTS 1 b", "tensor key is empty or in a different shard"),
        ("INPUTS 1 text OUTPUTS 1 b", WRONG_TYPE),
        (
            "INPUTS 1 a OUTPUTS 1 b",
            "no inference worker is connected to this database: start one by `smartml inference",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_at_once(raw, error_of, words, text):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"x")
    raw.execute_command("AI.TENSORSET", "a", "FLOAT", 2, 3)
    raw.set("text", "plain")

    assert error_of(f"AI.MODELEXECUTE m {words}").startswith(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("AI.SCRIPTRUN s f INPUTS a INPUTS a OUTPUTS b", "Already encountered an INPUTS keyword in SCRIPTRUN"),
        ("AI.SCRIPTRUN s f INPUTS a OUTPUTS b OUTPUTS b", "Already encountered an OUTPUTS keyword in SCRIPTRUN"),
        ("AI.SCRIPTRUN s f a OUTPUTS b", "Unrecongnized parameter to SCRIPTRUN"),
        (
            "AI.SCRIPTEXECUTE s f OUTPUTS 1 b",
            "KEYS or INPUTS scope must be provided first for AI.SCRIPTEXECUTE command",
        ),
        ("AI.SCRIPTEXECUTE s f KEYS x a OUTPUTS 1 b", "Invalid or negative value found in number of KEYS"),
        ("AI.SCRIPTEXECUTE s f INPUTS 5 a OUTPUTS 1 b", "Invalid arguments provided to AI.SCRIPTEXECUTE"),
        ("AI.SCRIPTEXECUTE s f INPUTS 1 a OUTPUTS 1 b TIMEOUT", "No value provided for TIMEOUT in AI.SCRIPTEXECUTE"),
    ],
)
def test_words_of_a_run_of_a_script_are_refused_as_redisai_does(raw, error_of, words, text):
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "x")

    assert error_of(words) == text


def test_a_run_is_refused_where_nobody_may_wait(raw):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"x")
    raw.execute_command("AI.TENSORSET", "a", "FLOAT", 1)
    text = "Cannot run RedisAI command within a transaction or a LUA script"

    with raw.pipeline(transaction=True) as together:
        together.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "b")
        with pytest.raises(redis.ResponseError, match=text):
            together.execute()
    call = "return redis.call('AI.MODELEXECUTE', KEYS[1], 'INPUTS', 1, KEYS[2], 'OUTPUTS', 1, KEYS[3])"
    with pytest.raises(redis.ResponseError, match=text):
        raw.eval(call, 3, "m", "a", "b")


def test_the_keys_of_a_run_are_known_to_the_server(raw):
    def keys(text):
        return raw.command_getkeys(*text.split())

    assert keys("AI.MODELEXECUTE m INPUTS 2 a b OUTPUTS 1 c TIMEOUT 5") == ["m", "a", "b", "c"]
    assert keys("AI.MODELRUN m INPUTS a b OUTPUTS c") == ["m", "a", "b", "c"]
    assert keys("AI.SCRIPTRUN s f INPUTS a OUTPUTS b c") == ["s", "a", "b", "c"]
    assert keys("AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 1 a ARGS 1 x OUTPUTS 1 b") == ["s", "k", "a", "b"]


def test_the_worker_reads_a_value_as_the_server_wrote_it(raw):
    raw.execute_command(*TF, "TAG", "t", "BATCHSIZE", 4, "INPUTS", 1, "a", "OUTPUTS", 2, "b", "c", "BLOB", b"graph")
    raw.execute_command("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", "def f")

    model, script = read_model(raw.get("m"), "m"), read_model(raw.get("s"), "s")

    assert (bytes(model.content), model.backend, model.device, model.tag) == (b"graph", "TF", "CPU", "t")
    assert (model.inputs, model.outputs, model.batch_size) == (("a",), ("b", "c"), 4)
    assert script.is_script and not model.is_script
    assert (bytes(script.content), script.inputs) == (b"def f", ("f",))


def test_what_is_stored_anew_unchanged_keeps_its_version(raw):
    def version(*words):
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", *words)
        return read_model(raw.get("m"), "m").version

    first = version("CPU", "BLOB", b"weights")
    assert version("CPU", "BLOB", b"wei", b"ghts") == first
    others = {
        version("CPU", "BLOB", b"weight5"),
        version("GPU", "BLOB", b"weights"),
        version("CPU", "BLOB", b"weights "),
    }
    assert len(others | {first}) == 4


def test_a_damaged_model_is_named_so(raw, error_of):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"weights")
    value = raw.get("m")
    # The size of all texts, larger than the value.
    raw.set("m", value[:-16] + struct.pack("<I", 10_000) + value[-12:])

    for command in ("AI.MODELGET m", "AI.MODELDEL m", "AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b"):
        assert error_of(command).startswith("the model or script is damaged")


def test_statistics_of_what_is_not_stored_are_unknown(raw, error_of):
    assert error_of("AI.INFO m") == "cannot find run info for key"
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "x")
    assert raw.execute_command("AI.INFO", "s") == [
        *(b"key", b"s", b"type", b"SCRIPT", b"backend", b"TORCH", b"device", b"CPU", b"tag", b""),
        *(b"duration", 0, b"samples", -1, b"calls", 0, b"errors", 0),
    ]
