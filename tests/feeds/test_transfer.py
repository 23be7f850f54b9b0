"""What arrives and does not fit is named, raised once and left out; everything else joins."""

import logging

import numpy as np
import pytest

from smartml.errors import FeedError, SampleMismatchError, TensorFormatError

from .conftest import flat, numbers, one_pass, peak_memory


def feed_of_points(make_plain_feed, **arguments):
    defaults = {"sample_prefix": "points", "batch_size": 1, "init_samples": False}
    return make_plain_feed(**{**defaults, **arguments})


def points(*rows):
    return np.array(rows, "float32")


@pytest.mark.parametrize(
    ("misfit", "got"),
    [
        (points([1, 2]), r"float32 of shape \(1, 2\)"),
        (points([1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]), r"float32 of shape \(3, 4\)"),
        (points([1, 2, 3]).astype("float64"), r"float64 of shape \(1, 3\)"),
        (points([1, 2, 3]).astype("int32"), r"int32 of shape \(1, 3\)"),
        (points(1, 2, 3), r"float32 of shape \(3,\)"),
        (points(1, 2), r"float32 of shape \(2,\)"),
        (points([[1], [2], [3]]), r"float32 of shape \(1, 3, 1\)"),
        (points([[[[[1, 2, 3]]]]]), r"float32 of shape \(1, 1, 1, 1, 1, 3\)"),
        (np.array(1, "float32"), r"float32 of shape \(\)"),
        (np.empty((0, 4), "float32"), r"float32 of shape \(0, 4\)"),
        (np.empty((4, 0), "float32"), r"float32 of shape \(4, 0\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.dtype}-{value.shape}",
)
def test_a_misfit_is_named_and_all_others_join(misfit, got, client, make_plain_feed):
    client.put_tensors({"points_0": points([1, 1, 1]), "points_1": misfit, "points_2": points([2, 2, 2])})
    feed = feed_of_points(make_plain_feed)

    with pytest.raises(SampleMismatchError, match=rf"'points_1' is {got}.* holds float32 of shape \(any number, 3\)"):
        feed.update_data()

    assert one_pass(feed) == [[[1, 1, 1]], [[2, 2, 2]]]


@pytest.mark.parametrize("misfit", [numbers(1, 2, dtype="float64"), points([1], [2]), points([[1]]), np.float64(1)])
def test_samples_that_are_numbers_tell_misfits_apart_too(misfit, client, make_plain_feed):
    client.put_tensors({"points_0": numbers(1), "points_1": np.asarray(misfit), "points_2": numbers(2)})
    feed = feed_of_points(make_plain_feed)

    with pytest.raises(SampleMismatchError, match=r"'points_1' is .* float32 of shape \(any number\)"):
        feed.update_data()

    assert flat(one_pass(feed)) == [1, 2]


def test_a_misfit_is_raised_once(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(1), "points_1": points([1, 2])})
    feed = feed_of_points(make_plain_feed)
    with pytest.raises(FeedError):
        feed.update_data()

    client.put_tensor("points_2", numbers(2))

    assert flat(one_pass(feed)) == [1, 2]
    assert flat(one_pass(feed)) == [1, 2]


def test_further_misfits_of_one_update_are_logged(client, make_plain_feed, caplog):
    client.put_tensors({"points_0": numbers(1), "points_1": points([1, 2]), "points_2": points([3, 4])})
    feed = feed_of_points(make_plain_feed)

    with caplog.at_level(logging.ERROR, "smartml.feeds"), pytest.raises(SampleMismatchError, match="'points_1'"):
        feed.update_data()

    assert ["points_2" in record.getMessage() for record in caplog.records] == [True]


def test_a_shape_that_changes_for_good_is_raised_every_time(client, make_plain_feed):
    client.put_tensor("points_0", numbers(1))
    feed = feed_of_points(make_plain_feed)
    feed.update_data()

    for iteration in (1, 2):
        client.put_tensor(f"points_{iteration}", points([1, 2]))
        with pytest.raises(SampleMismatchError, match=f"'points_{iteration}'"):
            feed.update_data()


def test_a_misfit_of_one_rank_holds_up_no_other(client, make_plain_feed):
    client.put_tensors({"points_0_0": numbers(1), "points_1_0": points([1, 2]), "points_2_0": numbers(3)})
    feed = feed_of_points(make_plain_feed, uploader_ranks=3)

    with pytest.raises(SampleMismatchError, match="'points_1_0'"):
        feed.update_data()

    assert flat(one_pass(feed)) == [1, 3]


def test_a_feed_that_waits_raises_what_does_not_fit(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(1), "points_1": points([1, 2])})

    with pytest.raises(SampleMismatchError, match="'points_1'"):
        feed_of_points(make_plain_feed, init_samples=True, batch_size=2, wait_timeout_s=10)


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (numbers(10), "'points_1' and 'values_1' belong together, but hold 2 and 1 samples"),
        (numbers(10, 20, 30), "'points_1' and 'values_1' belong together, but hold 2 and 3 samples"),
        (points([10, 20], [30, 40]), r"'values_1' is float32 of shape \(2, 2\)"),
        (numbers(), "'points_1' and 'values_1' belong together, but hold 2 and 0 samples"),
    ],
)
def test_targets_that_do_not_fit_leave_their_samples_out_too(targets, reason, client, make_plain_feed):
    for iteration, values in enumerate((numbers(10, 20), targets, numbers(50, 60))):
        client.put_tensor(f"points_{iteration}", numbers(2 * iteration + 1, 2 * iteration + 2))
        client.put_tensor(f"values_{iteration}", values)
    feed = feed_of_points(make_plain_feed, target_prefix="values", batch_size=2)

    with pytest.raises(SampleMismatchError, match=reason):
        feed.update_data()

    assert one_pass(feed) == [([1, 2], [10, 20]), ([5, 6], [50, 60])]


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"", "key 'points_1' does not hold a tensor: 0 bytes are too few"),
        (b"hello", "key 'points_1' does not hold a tensor: 5 bytes are too few"),
        (bytes(1000), "key 'points_1' does not hold a tensor: it ends in"),
        (bytes(range(24)), "key 'points_1' does not hold a tensor: it ends in"),
        (b"\0" * 8 + b"\2\1\0\0SMT1", "tensor 'points_1' is damaged|'points_1' is float32 of shape"),
        (b"\0" * 4 + b"\1" + b"\0" * 7 + b"\2\40\0\0SMT1", "tensor 'points_1' is damaged"),
        (b"\0" * 4 + b"\1" + b"\0" * 7 + b"\143\1\0\0SMT1", "tensor 'points_1' is damaged: unknown dtype code 99"),
        (b"\0" * 8 + b"\2\1\0\0SMT1\0", "key 'points_1' does not hold a tensor"),
    ],
)
def test_garbage_is_named_and_left_out(garbage, reason, client, make_plain_feed):
    client.put_tensors({"points_0": points([1, 2]), "points_2": points([3, 4])})
    client.database.set_values({b"points_1": garbage})
    feed = feed_of_points(make_plain_feed)

    with pytest.raises((TensorFormatError, SampleMismatchError), match=reason):
        feed.update_data()

    assert one_pass(feed) == [[[1, 2]], [[3, 4]]]


def test_garbage_that_comes_first_holds_up_nothing(client, make_plain_feed):
    client.database.set_values({b"points_0": b"garbage, and no tensor"})
    feed = feed_of_points(make_plain_feed)
    with pytest.raises(TensorFormatError, match="'points_0'"):
        feed.update_data()

    client.put_tensor("points_1", numbers(1))
    with pytest.raises(TensorFormatError, match="'points_0'"):
        feed.update_data()

    assert flat(one_pass(feed)) == [1]


@pytest.mark.parametrize("first", [np.array(1, "float32"), np.empty((3, 0), "float32")])
def test_what_cannot_be_a_batch_is_refused_from_the_first_on(first, client, make_plain_feed):
    client.put_tensor("points_0", first)

    with pytest.raises(SampleMismatchError, match="a batch has samples along axis 0, and each has a size"):
        feed_of_points(make_plain_feed, init_samples=True)


@pytest.mark.parametrize("position", [0, 1])
def test_a_value_of_another_kind_is_named_and_left_out(position, client, make_plain_feed):
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(3)})
    client.database.command("DEL", f"points_{position}")
    client.database.command("HSET", f"points_{position}", "field", "value")
    feed = feed_of_points(make_plain_feed)

    with pytest.raises(TensorFormatError, match=f"'points_{position}' .* type hash"):
        feed.update_data()

    assert flat(one_pass(feed)) == [iteration for iteration in range(3) if iteration != position]


def test_the_first_batch_of_a_pass_of_empty_ones_is_waited_for(client, make_plain_feed):
    client.put_tensor("points_0", numbers())
    feed = feed_of_points(make_plain_feed)
    feed.update_data()
    assert feed.num_samples == 0

    client.put_tensors({"points_1": numbers(), "points_2": numbers(1)})

    assert flat(one_pass(feed)) == [1]


@pytest.mark.parametrize("gone", ["points_1", "values_1"])
def test_a_tensor_that_disappears_is_found_again_in_its_turn(gone, client, make_plain_feed, monkeypatch):
    for iteration in range(3):
        client.put_tensors({f"points_{iteration}": numbers(iteration), f"values_{iteration}": numbers(iteration)})
    feed = feed_of_points(make_plain_feed, target_prefix="values")
    receive = type(client.database).receive

    def delete_first(database, keys, place):
        # Between the moment that it is found and the moment that it is transferred.
        client.delete_tensor(gone)
        return receive(database, keys, place)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(client.database), "receive", delete_first)
        feed.update_data()
    assert feed.samples.tolist() == [0]

    client.put_tensor(gone, numbers(1))
    feed.update_data()

    assert feed.samples.tolist() == [0, 1, 2]
    assert feed.targets.tolist() == [0, 1, 2]


def test_samples_are_received_straight_into_the_set(client, make_plain_feed):
    batch = np.ones((32, 4096), "float32")
    client.put_tensors({f"points_{iteration}": batch for iteration in range(8)})
    feed = feed_of_points(make_plain_feed)
    feed.update_data()
    client.put_tensors({f"points_{iteration}": batch for iteration in range(8, 16)})

    peak = peak_memory(feed.update_data)

    assert feed.num_samples == 16 * 32
    # Room for what is new, and next to nothing beside it.
    assert peak < 1.25 * 8 * batch.nbytes


def test_a_transfer_that_breaks_off_leaves_the_feed_as_it_was(client, make_plain_feed, monkeypatch):
    client.put_tensor("points_0", numbers(0))
    feed = feed_of_points(make_plain_feed)
    feed.update_data()
    client.put_tensors({"points_1": numbers(1), "points_2": numbers(2)})
    receive = type(client.database).receive

    def break_off(database, keys, place):
        receive(database, keys[:1], place)
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(client.database), "receive", break_off)
        with pytest.raises(KeyboardInterrupt):
            feed.update_data()
    assert feed.samples.tolist() == [0]

    feed.update_data()

    assert feed.samples.tolist() == [0, 1, 2]
