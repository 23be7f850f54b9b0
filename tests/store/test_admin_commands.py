"""Administration of servers."""

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreReplyError


def test_information_comes_by_section_and_field(client, server):
    (info,) = client.get_db_node_info([server.address])

    assert info["Server"]["tcp_port"] == str(server.port)
    assert info["Server"].get("redis_mode", info["Server"].get("server_mode")) == "standalone"
    assert "used_memory" in info["Memory"]


def test_a_single_server_has_no_cluster_information(client, server):
    with pytest.raises(StoreReplyError, match=r"refused 'CLUSTER INFO': .*cluster support disabled"):
        client.get_db_cluster_info([server.address])


def test_flushing_deletes_everything(client, server, raw):
    client.put_tensor("t", np.zeros(1))

    client.flush_db([server.address])

    assert raw.keys() == []


def test_configuration_is_read_and_set(client, server):
    before = client.config_get("maxmemory*", server.address)
    assert before["maxmemory-policy"] == "noeviction"

    client.config_set("maxmemory-samples", "7", server.address)

    assert client.config_get("maxmemory-samples", server.address) == {"maxmemory-samples": "7"}
    assert client.config_get("no-such-thing", server.address) == {}


def test_what_the_server_refuses_comes_with_its_reason(client, server):
    with pytest.raises(StoreReplyError, match=f"the database at {server.address} refused 'CONFIG SET no-such-thing 1'"):
        client.config_set("no-such-thing", "1", server.address)


def test_saving_writes_to_disk(client, server, raw):
    before = raw.lastsave()

    client.save([server.address])

    assert raw.lastsave() >= before
    assert raw.info("persistence")["rdb_changes_since_last_save"] == 0


@pytest.mark.parametrize("act", ["get_db_node_info", "get_db_cluster_info", "flush_db", "save"])
def test_addresses_are_a_list_of_text(client, server, act):
    for addresses in (server.address, None, 3):
        with pytest.raises(ArgumentTypeError, match=f"a list of addresses is needed, not {type(addresses).__name__}"):
            getattr(client, act)(addresses)
    with pytest.raises(ArgumentTypeError, match="an address is text"):
        getattr(client, act)([3])


@pytest.mark.parametrize("act", ["get_db_node_info", "flush_db", "save"])
def test_another_server_is_left_alone(client, server, act):
    with pytest.raises(ArgumentValueError) as caught:
        getattr(client, act)(["127.0.0.1:1"])

    assert str(caught.value) == f"'127.0.0.1:1' is no server of this database; its servers are: {server.address}"


def test_configuration_is_text(client, server):
    for call in (
        lambda: client.config_get(3, server.address),
        lambda: client.config_set(3, "1", server.address),
        lambda: client.config_set("maxmemory-samples", 7, server.address),
    ):
        with pytest.raises(ArgumentTypeError, match=r"must be str, not int: [37]"):
            call()
