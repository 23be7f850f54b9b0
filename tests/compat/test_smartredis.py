"""Programs of SmartRedis where SmartRedis itself is not: what they put, read, log and catch."""

OURS = ["--no-real-smartredis"]


def test_tensors_datasets_and_lists_are_put_and_read(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client, Dataset
        client = Client(cluster=False)
        client.put_tensor("t", np.arange(6, dtype=np.int32).reshape(2, 3))
        print(client.get_tensor("t").tolist(), client.tensor_exists("t"), client.poll_tensor("t", 1, 1))
        data = Dataset("d")
        data.add_tensor("x", np.ones((2, 2), dtype=np.float32))
        data.add_meta_scalar("n", 3)
        data.add_meta_string("name", "cavity")
        client.put_dataset(data)
        found = client.get_dataset("d")
        print(type(found) is Dataset, found.get_meta_scalars("n"), found.get_meta_strings("name"), found.get_name())
        print(found.get_tensor_type("x").__name__, found.get_tensor_dims("x"), found.get_metadata_field_names())
        client.append_to_list("l", data)
        print(client.get_list_length("l"), client.poll_list_length_gte("l", 1, 1, 1))
        [listed] = client.get_datasets_from_list("l")
        print(type(listed) is Dataset, Dataset.from_pybind(listed) is listed, listed.get_tensor("x").sum())
        client.rename_tensor("t", "u")
        client.copy_tensor("u", "v")
        client.delete_tensor("u")
        print(client.tensor_exists("t"), client.tensor_exists("u"), client.key_exists("v"))
        """,
        flags=OURS,
        env=database,
    )
    assert lines == [
        "[[0, 1, 2], [3, 4, 5]] True True",
        "True [3] ['cavity'] d",
        "float32 [2, 2] ['n', 'name']",
        "1 True",
        "True True 4.0",
        "False False True",
    ]


def test_a_client_is_made_in_either_way(program, database):
    address = database["SSDB"]
    lines = program(
        f"""
        import numpy as np
        from smartredis import Client, ConfigOptions
        options = ConfigOptions.create_from_environment("")
        other = ConfigOptions.create_from_environment("other")
        other.override_string_option("SSDB", "{address}")
        other.override_string_option("SR_DB_TYPE", "Standalone")
        other.override_integer_option("SR_CONN_TIMEOUT", 2)
        clients = [
            Client(), Client(None), Client(options), Client(config_options=options, logger_name="a"), Client(other),
            Client(False), Client(cluster=False), Client(False, "{address}"), Client(False, "{address}", "b"),
            Client(cluster=False, address="{address}", logger_name="c"), Client(address="{address}"),
        ]
        clients[0].put_tensor("t", np.ones(2))
        print([client.get_tensor("t").sum() for client in clients] == [2.0] * len(clients))
        for wrong in (lambda: Client(3), lambda: Client(False, "{address}", "x", "y"), lambda: Client(nothing=1)):
            try:
                wrong()
            except TypeError:
                print("TypeError", end=" ")
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["True", "TypeError TypeError TypeError "]


def test_programs_catch_what_they_caught(program, database):
    lines = program(
        """
        import os
        import numpy as np
        from smartredis import Client, ConfigOptions, Dataset
        from smartredis.error import *
        client, data = Client(), Dataset("d")
        data.add_tensor("x", np.ones(1))
        plain, options = ConfigOptions(), ConfigOptions.create_from_environment("")
        os.environ["TEXT"] = "abc"
        checks = [
            (RedisConnectionError, lambda: Client(False, "127.0.0.1:1")),
            (RedisConnectionError, lambda: Client(ConfigOptions.create_from_environment("none"))),
            (RedisRuntimeError, lambda: client.get_tensor("none")),
            (RedisKeyError, lambda: client.get_dataset("none")),
            (RedisKeyError, lambda: client.copy_dataset("none", "other")),
            (RedisRuntimeError, lambda: client.delete_dataset("none")),
            (RedisRuntimeError, lambda: client.copy_list("none", "other")),
            (RedisRuntimeError, lambda: client.rename_tensor("none", "other")),
            (RedisReplyError, lambda: client.rename_dataset("none", "other")),
            (RedisRuntimeError, lambda: client.put_dataset(Dataset("empty"))),
            (RedisRuntimeError, lambda: data.add_tensor("x", np.ones(1))),
            (RedisKeyError, lambda: data.get_tensor("none")),
            (RedisRuntimeError, lambda: data.get_meta_scalars("none")),
            (RedisRuntimeError, lambda: data.get_meta_strings("none")),
            (RedisKeyError, lambda: data.get_metadata_field_type("none")),
            (RedisRuntimeError, lambda: client.set_data_source("nobody")),
            (RedisRuntimeError, lambda: plain.get_string_option("SSDB")),
            (RedisKeyError, lambda: options.get_integer_option("NONE")),
            (ValueError, lambda: options.get_integer_option("TEXT")),
            (TypeError, lambda: options.override_integer_option("A", "b")),
            (TypeError, lambda: client.get_tensor(3)),
            (TypeError, lambda: client.put_dataset(3)),
            (TypeError, lambda: client.get_db_node_info("127.0.0.1:1")),
            (TypeError, lambda: client.log_data(2, "text")),
            (ValueError, lambda: client.poll_list_length("l", -1, 1, 1)),
        ]
        for number, (kind, act) in enumerate(checks):
            try:
                act()
            except kind as error:
                assert isinstance(error, (RuntimeError, TypeError, ValueError)), error
            except Exception as error:
                print(number, kind.__name__, "not", repr(error))
            else:
                print(number, kind.__name__, "not raised")
        """,
        flags=OURS,
        env=database,
    )
    assert lines == []


def test_programs_raise_smartrediss_errors_themselves(program):
    lines = program(
        """
        from smartredis.error import RedisConnectionError, RedisRuntimeError
        print(RedisRuntimeError("no room", "put").args, str(RedisConnectionError("nobody")))
        """,
        flags=OURS,
    )
    assert lines == ["('put execution failed\\nno room',) nobody"]


def test_lines_of_the_log_have_the_name_of_who_writes_them(program, database, tmp_path):
    text = """
        import numpy as np
        from smartredis import *
        LogContext("solver").log_data(LLInfo, "step 1")
        Client(logger_name="trainer").log_warning(LLQuiet, "slow")
        Dataset("d").log_error(LLInfo, "broken")
        log_data("all", LLDebug, "details")
    """
    patterns = ["solver@:step 1", "trainer@:WARNING: slow", "d@:ERROR: broken"]

    def without_times(lines):
        return [line[: line.index("@") + 1] + line[line.index("@") + 9 :] for line in lines]

    assert without_times(program(text, flags=OURS, env={**database, "SR_LOG_LEVEL": "info"})) == patterns
    log = tmp_path / "log.txt"
    assert program(text, flags=OURS, env={**database, "SR_LOG_LEVEL": "QUIET", "SR_LOG_FILE": str(log)}) == []
    assert without_times(log.read_text().splitlines()) == patterns[1:2]


def test_keys_have_the_prefixes_of_the_environment(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client
        client = Client()
        client.put_tensor("t", np.ones(1))
        print(client.key_exists("me.t"), client.tensor_exists("t"))
        client.set_data_source("me")
        print(client.tensor_exists("t"))
        client.use_tensor_ensemble_prefix(False)
        print(client.tensor_exists("t"), client.tensor_exists("me.t"))
        """,
        flags=OURS,
        env={**database, "SSKEYOUT": "me", "SSKEYIN": "other,me"},
    )
    assert lines == ["True False", "True", "False True"]


def test_small_things_of_util_are_there(program):
    lines = program(
        """
        import numpy as np
        from smartredis.util import Dtypes, init_default, typecheck
        print(Dtypes.tensor_from_numpy(np.ones(1, "f4")), Dtypes.metadata_from_numpy(np.ones(1, "u4")))
        print(Dtypes.from_string("FLOAT").__name__, Dtypes.from_string("UINT16").__name__, Dtypes.from_string("STRING"))
        print(init_default([], None), init_default([], [1], list))
        for wrong in (lambda: Dtypes.tensor_from_numpy(np.ones(1, "?")), lambda: typecheck(1, "name", str)):
            try:
                wrong()
            except TypeError as error:
                print("TypeError", end=" ")
        """,
        flags=OURS,
    )
    assert lines == ["FLOAT UINT32", "float32 uint16 <class 'str'>", "[] [1]", "TypeError TypeError "]
