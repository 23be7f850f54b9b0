"""What is found, in what order, and how little is asked for it."""

import logging

import numpy as np
import pytest

from smartml import Dataset
from smartml.errors import MetadataError, SampleMismatchError
from smartml.feeds import DataInfo, TrainingDataUploader

from .conftest import numbers, one_pass


def key_feed(make_plain_feed, **arguments):
    return make_plain_feed(**{"sample_prefix": "points", "batch_size": 1, **arguments})


def list_feed(make_plain_feed, target_name=None, **arguments):
    info = DataInfo("training", "samples", target_name)
    return make_plain_feed(**{"data_info_or_list_name": info, "batch_size": 1, **arguments})


def passes(feed):
    """The numbers served by one pass, a batch each."""
    return [number for batch in one_pass(feed) for number in batch]


def dataset(name, *values, tensor="samples"):
    made = Dataset(name)
    made.add_tensor(tensor, numbers(*values))
    return made


# By key


def test_samples_join_when_their_targets_are_there_too(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(1), "values_0": numbers(10), "points_1": numbers(2)})
    feed = key_feed(make_plain_feed, target_prefix="values")
    assert one_pass(feed) == [([1], [10])]

    client.put_tensor("values_1", numbers(20))

    assert one_pass(feed) == [([1], [10]), ([2], [20])]


def test_targets_may_come_before_their_samples(client, make_plain_feed):
    client.put_tensor("values_0", numbers(10))
    feed = key_feed(make_plain_feed, target_prefix="values", init_samples=False)
    feed.update_data()
    assert feed.num_samples == 0

    client.put_tensor("points_0", numbers(1))

    assert one_pass(feed) == [([1], [10])]


def test_ranks_may_run_ahead_of_others(client, make_plain_feed):
    for iteration in range(5):
        client.put_tensor(f"points_1_{iteration}", numbers(100 + iteration))
    feed = key_feed(make_plain_feed, uploader_ranks=3)
    assert passes(feed) == [100, 101, 102, 103, 104]

    client.put_tensors({"points_0_0": numbers(0), "points_1_5": numbers(105)})

    assert passes(feed) == [100, 101, 102, 103, 104, 0, 105]


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 5, 6, 7, 40, 300])
def test_a_producer_far_ahead_is_caught_up_with_in_one_update(ahead, client, make_plain_feed):
    client.put_tensor("points_0", numbers(0))
    feed = key_feed(make_plain_feed)

    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(1, ahead + 1)})
    feed.update_data()

    assert feed.samples.tolist() == list(range(ahead + 1))


def test_many_ranks_at_different_iterations_are_all_caught_up_with(client, make_plain_feed):
    # Rank r has put r % 7 iterations: groups of keys that are asked for at once are there in part.
    there = {(rank, iteration) for rank in range(150) for iteration in range(rank % 7)}
    client.put_tensors({f"points_{rank}_{iteration}": numbers(1000 * rank + iteration) for rank, iteration in there})

    feed = key_feed(make_plain_feed, uploader_ranks=150)

    assert feed.samples.tolist() == [1000 * rank + iteration for rank, iteration in sorted(there)]


def test_a_missing_iteration_is_waited_for_and_taken_when_it_comes(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(0), "points_2": numbers(2), "points_3": numbers(3)})
    feed = key_feed(make_plain_feed)
    assert passes(feed) == [0]

    client.put_tensor("points_1", numbers(1))

    assert passes(feed) == [0, 1, 2, 3]


def test_a_missing_iteration_is_reported_once(client, make_plain_feed, caplog):
    client.put_tensors({"points_0": numbers(0), "points_2": numbers(2)})
    feed = key_feed(make_plain_feed)

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(40):
            feed.update_data()

    assert [record.getMessage() for record in caplog.records] == ["waiting for 'points_1', while iteration 2 is there"]


def test_the_report_names_the_targets_if_they_are_what_is_missing(client, make_plain_feed, caplog):
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(4)})
    client.put_tensor("values_0", numbers(0))
    feed = key_feed(make_plain_feed, target_prefix="values")

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(8):
            feed.update_data()

    assert [record.getMessage() for record in caplog.records] == ["waiting for 'values_1', while iteration 2 is there"]


def test_a_second_gap_is_reported_too(client, make_plain_feed, caplog):
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in (0, 2, 4)})
    feed = key_feed(make_plain_feed)

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(8):
            feed.update_data()
        client.put_tensor("points_1", numbers(1))
        for _ in range(8):
            feed.update_data()

    assert [record.args[0] for record in caplog.records] == ["'points_1'", "'points_3'"]


def test_a_producer_that_is_merely_slow_is_not_reported(client, make_plain_feed, caplog):
    client.put_tensor("points_0", numbers(0))
    feed = key_feed(make_plain_feed)

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(40):
            feed.update_data()

    assert not caplog.records


# By list


def test_a_list_that_names_a_dataset_twice_counts_it_once(client, make_plain_feed):
    client.put_dataset(dataset("batch", 1))
    client.append_to_list("training", dataset("batch", 1))
    client.append_to_list("training", dataset("batch", 1))
    feed = list_feed(make_plain_feed)
    assert passes(feed) == [1]

    client.append_to_list("training", dataset("batch", 1))

    assert passes(feed) == [1]


def test_replicas_agree_on_what_counts_once(client, make_plain_feed):
    for name in ("a", "a", "b", "a", "c", "b", "d"):
        client.put_dataset(dataset(name, ord(name)))
        client.append_to_list("training", dataset(name, 0))

    shares = [passes(list_feed(make_plain_feed, replica_rank=rank, num_replicas=2)) for rank in range(2)]

    assert shares == [[ord("a"), ord("c")], [ord("b"), ord("d")]]


def test_a_dataset_listed_before_it_is_put_joins_later_and_holds_up_no_other(client, make_plain_feed):
    client.append_to_list("training", dataset("late", 1))
    client.put_dataset(dataset("early", 2))
    client.append_to_list("training", dataset("early", 2))
    feed = list_feed(make_plain_feed)
    assert passes(feed) == [2]

    client.put_dataset(dataset("late", 1))

    assert passes(feed) == [2, 1]


def test_a_dataset_that_is_half_put_is_left_alone(client, make_plain_feed):
    client.put_dataset(dataset("half", 1))
    client.database.command("HDEL", "{half}.meta", ".COMPLETE")
    client.append_to_list("training", dataset("half", 1))
    feed = list_feed(make_plain_feed, init_samples=False)
    feed.update_data()
    assert feed.num_samples == 0

    client.database.command("HSET", "{half}.meta", ".COMPLETE", "1")

    assert passes(feed) == [1]


def test_a_dataset_whose_tensors_are_gone_holds_up_no_other(client, make_plain_feed):
    for name, value in (("gone", 1), ("there", 2)):
        client.put_dataset(dataset(name, value))
        client.append_to_list("training", dataset(name, value))
    client.database.command("DEL", "{gone}.samples")

    assert passes(list_feed(make_plain_feed)) == [2]


def test_a_dataset_without_the_tensor_says_which_it_has_and_is_left_out(client, make_plain_feed):
    for name, tensor in (("first", "samples"), ("other", "fields"), ("last", "samples")):
        client.put_dataset(dataset(name, len(name), tensor=tensor))
        client.append_to_list("training", dataset(name, 0))
    feed = list_feed(make_plain_feed, init_samples=False)

    with pytest.raises(MetadataError, match=r"dataset '\{other\}' has no tensor 'samples'; its tensors are: fields"):
        feed.update_data()

    assert passes(feed) == [5, 4]


def test_a_dataset_without_targets_says_so(client, make_plain_feed):
    client.put_dataset(dataset("batch", 1))
    client.append_to_list("training", dataset("batch", 1))

    with pytest.raises(MetadataError, match=r"no tensor 'targets'; its tensors are: samples"):
        list_feed(make_plain_feed, target_name="targets", wait_timeout_s=10)


def test_damaged_metadata_is_reported_and_left_out(client, make_plain_feed):
    for name, value in (("damaged", 1), ("whole", 2)):
        client.put_dataset(dataset(name, value))
        client.append_to_list("training", dataset(name, value))
    client.database.command("HSET", "{damaged}.meta", ".tensor_names", b"\7\xff")
    feed = list_feed(make_plain_feed, init_samples=False)

    with pytest.raises(MetadataError, match="damaged"):
        feed.update_data()

    assert passes(feed) == [2]


def test_an_entry_that_is_no_dataset_holds_up_no_other(client, make_plain_feed):
    for entry in (b"", b"no braces", b"\xff\xfe{", b"{batch}"):
        client.database.command("RPUSH", "training", entry)
    client.put_dataset(dataset("batch", 1))

    assert passes(list_feed(make_plain_feed)) == [1]


def test_an_empty_list_is_waited_on(client, make_plain_feed):
    feed = list_feed(make_plain_feed, init_samples=False)
    feed.update_data()

    assert feed.num_samples == 0


def test_what_smartsim_uploads_is_read(client, make_plain_feed):
    """The commands that the uploader of SmartSim 0.8 sends, for a producer with key prefixing (SmartRedis 0.6.1)."""
    value = numbers(1, 2).tobytes() + (2).to_bytes(8, "little") + b"\2\1\0\0SMT1"
    names = b"".join(len(name).to_bytes(8, "little") + name for name in (b"samples", b"targets"))
    for command in (
        ("DEL", "simulation.{training_samples_0}.meta"),
        ("HMSET", "simulation.{training_samples_0}.meta", ".tensor_names", b"\7" + names),
        ("SET", "simulation.{training_samples_0}.targets", value),
        ("SET", "simulation.{training_samples_0}.samples", value),
        ("HSET", "simulation.{training_samples_0}.meta", ".COMPLETE", "1"),
        ("RPUSH", "simulation.training_data", "simulation.{training_samples_0}"),
    ):
        client.database.command(*command)

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSKEYIN", "simulation")
        feed = make_plain_feed(data_info_or_list_name=DataInfo("training_data"))

    assert one_pass(feed) == [([1, 2], [1, 2])]


# How little is asked


def test_a_thousand_ranks_with_nothing_new_cost_one_command(client, make_plain_feed, command_counts):
    client.put_tensors({f"points_{rank}_0": numbers(rank) for rank in range(1000)})
    feed = key_feed(make_plain_feed, uploader_ranks=1000)
    command_counts()

    feed.update_data()

    assert command_counts() == {"exists": 1}
    assert feed.num_samples == 1000


def test_looking_for_gaps_costs_few_commands_too(client, make_plain_feed, command_counts):
    client.put_tensors({f"points_{rank}_0": numbers(rank) for rank in range(1000)})
    feed = key_feed(make_plain_feed, uploader_ranks=1000)
    command_counts()

    for _ in range(100):
        feed.update_data()

    assert command_counts()["exists"] < 150


def test_one_new_tensor_of_a_thousand_ranks_costs_few_commands(client, make_plain_feed, command_counts):
    client.put_tensors({f"points_{rank}_0": numbers(rank) for rank in range(1000)})
    feed = key_feed(make_plain_feed, uploader_ranks=1000)
    client.put_tensor("points_517_1", numbers(517))
    command_counts()

    feed.update_data()

    assert feed.num_samples == 1001
    counts = command_counts()
    assert counts.pop("get") == 1
    assert counts.pop("exists") < 200
    assert not counts


def test_thousands_of_iterations_are_found_in_few_round_trips(client, make_plain_feed, command_counts):
    client.put_tensor("points_0", numbers(0))
    feed = key_feed(make_plain_feed)
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(1, 4001)})
    command_counts()

    feed.update_data()

    assert feed.num_samples == 4001
    counts = command_counts()
    assert counts.pop("get") == 4000
    assert counts.pop("exists") < 400
    assert not counts


def test_lists_with_nothing_new_cost_one_command_each(client, make_plain_feed, command_counts, monkeypatch):
    monkeypatch.setenv("SSKEYIN", "left,right")
    for name in ("left", "right"):
        monkeypatch.setenv("SSKEYOUT", name)
        with TrainingDataUploader("training", "samples", None) as uploader:
            for value in range(50):
                uploader.put_batch(numbers(value))
    feed = list_feed(make_plain_feed)
    command_counts()

    feed.update_data()

    assert feed.num_samples == 100
    assert command_counts() == {"lrange": 2}


def test_replicas_of_a_feed_with_ranks_cover_everything_once(client, make_plain_feed):
    client.put_tensors({f"points_{rank}_{i}": numbers(10 * rank + i) for rank in range(3) for i in range(4)})

    shares = [passes(key_feed(make_plain_feed, uploader_ranks=3, replica_rank=r, num_replicas=4)) for r in range(4)]

    assert sorted(np.concatenate(shares).tolist()) == sorted(10 * rank + i for rank in range(3) for i in range(4))
    assert [len(share) for share in shares] == [3, 3, 3, 3]


def test_a_rank_without_samples_takes_part(client, make_plain_feed):
    client.put_tensors({"points_0_0": numbers(), "points_1_0": numbers(1, 2), "points_0_1": numbers(3)})

    assert passes(key_feed(make_plain_feed, uploader_ranks=2)) == [3, 1, 2]


def test_an_empty_tensor_of_another_kind_is_a_mismatch(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(1), "points_1": np.empty((0, 3), "float32"), "points_2": numbers(2)})
    feed = key_feed(make_plain_feed, init_samples=False)

    with pytest.raises(SampleMismatchError, match=r"'points_1' is float32 of shape \(0, 3\)"):
        feed.update_data()

    assert passes(feed) == [1, 2]
