"""The configuration of a server, as text."""

import shlex

import pytest

from smartml.errors import ArgumentValueError
from smartml.experiment.server import ServerConfig, largest_value, memory_bytes, quote


def settings(config):
    return dict(line.split(" ", 1) for line in config.text().splitlines())


def test_the_default_keeps_nothing_and_listens_on_loopback():
    got = settings(ServerConfig("db", 6780))
    assert (got["bind"], got["port"], got["save"]) == ("127.0.0.1", "6780", '""')
    assert "maxmemory" not in got and "unixsocket" not in got and "appendonly" not in got
    assert got["set-proc-title"] == "no"


def test_what_is_asked_for_is_configured():
    got = settings(ServerConfig("db", 1, ("127.0.0.1", "10.0.0.1"), "/a/s", "3gb", "aof", 2**40))
    assert got["bind"] == "127.0.0.1 10.0.0.1"
    assert got["unixsocket"] == '"/a/s"'
    assert (got["maxmemory"], got["maxmemory-policy"]) == ("3gb", "noeviction")
    assert got["appendonly"] == "yes"
    assert got["proto-max-bulk-len"] == str(2**40)


def test_paths_are_quoted_whatever_they_contain():
    assert quote("/a b'c") == '"/a b\'c"'
    assert quote('"\\\n\xff') == r'"\x22\x5c\x0a\xc3\xbf"'
    assert shlex.split(quote("/a b")) == ["/a b"]


@pytest.mark.parametrize(
    ("amount", "size"),
    [(5, 5), ("5", 5), ("5b", 5), ("2k", 2000), ("2kb", 2048), ("3GB", 3 * 2**30), ("1m", 10**6), (" 1mb ", 2**20)],
)
def test_amounts_of_memory_are_read_as_redis_reads_them(amount, size):
    assert memory_bytes(amount) == size


@pytest.mark.parametrize("amount", ["", "gb", "-1", "1tb", "1.5gb", None, True])
def test_other_amounts_are_refused(amount):
    with pytest.raises(ArgumentValueError, match="is not an amount of memory"):
        memory_bytes(amount)


def test_the_largest_value_is_at_least_redis_s_own_limit():
    assert largest_value("1mb") == 512 * 2**20
    assert largest_value("1gb") == 2**30


def test_a_node_of_a_cluster_says_where_it_is_and_keeps_its_files_apart():
    got = settings(ServerConfig("db_1", 6780, ("10.0.0.1", "127.0.0.1"), nodes_file="db_1.nodes"))
    assert (got["cluster-enabled"], got["cluster-config-file"]) == ("yes", '"db_1.nodes"')
    assert got["cluster-announce-ip"] == "10.0.0.1"
    assert not [name for name in settings(ServerConfig("db", 6780)) if name.startswith("cluster")]
