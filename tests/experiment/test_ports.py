"""Ports that are free."""

import os
import socket

from smartml.experiment.cluster import Shape
from smartml.experiment.ports import (
    free_port,
    free_ports,
    interface_address,
    interface_addresses,
    likely_interface,
    port_holder,
)


def test_a_free_port_is_free():
    assert 0 < free_port("127.0.0.1") < 65536


def test_the_nodes_of_a_cluster_get_ports_of_their_own_with_free_ones_for_their_bus():
    ports = free_ports(["127.0.0.1"], Shape(3, replicas=1))

    assert len(set(ports)) == 6
    for port in ports:
        for number in (port, port + 10_000):
            socket.create_server(("127.0.0.1", number)).close()


def test_an_interface_that_others_may_reach_is_chosen_where_the_launcher_is_not_local():
    assert likely_interface("local") == "lo"
    assert interface_addresses("auto", "local") == ["127.0.0.1"]
    chosen = likely_interface("slurm")
    assert chosen == "lo" or not interface_address(chosen).startswith("127.")


def test_the_holder_of_a_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as held:
        assert port_holder(held.getsockname()[1]).startswith(f"pid {os.getpid()} (")
