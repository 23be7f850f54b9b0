"""Reading what stored tensors look like, without their payloads."""

import threading

import numpy as np
import pytest

from smartml.errors import TensorFormatError
from smartml.store.descriptions import read_descriptions
from smartml.tensors import describe


def test_descriptions_come_in_the_order_of_the_keys(client):
    arrays = {
        "a": np.zeros((2, 3), "f4"),
        "b": np.array(True),
        "c": np.zeros((0, 2**40), "u2"),
        "d": np.zeros((1,) * 32),
    }
    client.put_tensors(arrays)

    found = read_descriptions(client.database, [b"d", b"missing", b"c", b"a", b"b", b"a"])

    assert found == [describe(arrays[name]) if name in arrays else None for name in ("d", "?", "c", "a", "b", "a")]


def test_no_keys_have_no_descriptions(client):
    assert read_descriptions(client.database, []) == []


def test_they_cost_one_round_trip(client, raw):
    client.put_tensors({str(number): np.zeros(number) for number in range(300)})
    before = raw.info("stats")["total_reads_processed"]

    found = read_descriptions(client.database, [b"%d" % number for number in range(300)])

    reads = raw.info("stats")["total_reads_processed"] - before
    assert [description.shape for description in found] == [(number,) for number in range(300)]
    # The server takes its input in pieces of 16 KiB, and one of the reads is that of INFO.
    assert reads <= 4


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw.set("b", b"text of someone else"), "key 'b' does not hold a tensor: it ends in b'else'"),
        (lambda raw: raw.set("b", b""), "key 'b' does not hold a tensor: 0 bytes are too few"),
        (lambda raw: raw.append("b", b"x"), "key 'b' does not hold a tensor"),
        (lambda raw: raw.setrange("b", 16, b"\xff"), "tensor 'b' is damaged: float64 of shape"),
        (
            lambda raw: (raw.delete("b"), raw.rpush("b", "x")),
            "key 'b' does not hold a tensor: it is a Redis value of type list",
        ),
    ],
)
def test_what_is_no_tensor_is_named(client, raw, damage, reason):
    client.put_tensors({"a": np.zeros(2), "b": np.zeros(2)})
    damage(raw)

    with pytest.raises(TensorFormatError) as caught:
        read_descriptions(client.database, [b"a", b"b", b"missing"])

    assert reason in str(caught.value)


def test_a_tensor_that_is_replaced_all_the_time_is_never_taken_for_damaged(client, server):
    shapes = {(number,) for number in range(1, 40)}
    client.put_tensor("a", np.zeros(1))
    is_over = threading.Event()

    def replace():
        while not is_over.is_set():
            for shape in shapes:
                client.put_tensor("a", np.zeros(shape))

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(500):
            for description in read_descriptions(client.database, [b"a"] * 5):
                assert description.shape in shapes
    finally:
        is_over.set()
        writer.join()


def test_tensors_on_several_servers_are_described(cluster_client):
    cluster_client.put_tensors({str(number): np.zeros(number) for number in range(20)})

    found = read_descriptions(cluster_client.database, [b"%d" % number for number in range(21)])

    assert [description and description.shape for description in found] == [*((n,) for n in range(20)), None]
