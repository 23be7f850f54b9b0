"""How producers name what they put, and what they tell about it."""

import pytest

from smartml import Client
from smartml.errors import ArgumentTypeError, ArgumentValueError, DatasetNotFoundError
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.feeds.schemes import KeyScheme

from .conftest import numbers, one_pass


@pytest.mark.parametrize(
    ("scheme", "rank", "key"),
    [
        (KeyScheme("points"), None, b"points_7"),
        (KeyScheme("points", ranks=4), 3, b"points_3_7"),
        (KeyScheme("points", ranks=4, order="iteration_rank"), 3, b"points_7_3"),
    ],
)
def test_keys_are_made_of_prefix_rank_and_iteration(scheme, rank, key):
    assert scheme.key("", "points", rank, 7) == key
    assert scheme.key("simulation", "points", rank, 7) == b"simulation." + key


@pytest.mark.parametrize("order", ["rank_iteration", "iteration_rank"])
def test_a_feed_follows_all_ranks_in_either_order_of_keys(order, client, make_plain_feed):
    for rank in range(3):
        for iteration in range(2):
            name = f"{rank}_{iteration}" if order == "rank_iteration" else f"{iteration}_{rank}"
            client.put_tensor(f"points_{name}", numbers(10 * rank + iteration))

    feed = make_plain_feed(sample_prefix="points", uploader_ranks=3, key_order=order, batch_size=6)

    assert one_pass(feed) == [[0, 1, 10, 11, 20, 21]]


def test_ranks_beyond_those_named_are_not_followed(client, make_plain_feed):
    for rank in range(3):
        client.put_tensor(f"points_{rank}_0", numbers(rank))

    assert one_pass(make_plain_feed(sample_prefix="points", uploader_ranks=2)) == [[0, 1]]


def test_published_information_is_taken_over(client):
    DataInfo("training", "fields", "labels", num_classes=3).publish(client)
    info = DataInfo("training")

    info.download(client)

    assert (info.sample_name, info.target_name, info.num_classes) == ("fields", "labels", 3)


@pytest.mark.parametrize("nothing", [None, ""])
def test_that_there_are_no_targets_is_published_too(nothing, client):
    DataInfo("training", "fields", nothing).publish(client)
    info = DataInfo("training", num_classes=3)
    assert info.target_name == "targets"

    info.download(client)

    assert (info.sample_name, info.target_name, info.num_classes) == ("fields", None, None)


def test_information_that_nobody_published_is_an_error(client):
    with pytest.raises(DatasetNotFoundError, match="training_info"):
        DataInfo("training").download(client)


def test_information_is_published_as_smartsim_does(client):
    DataInfo("training", "fields", "labels", num_classes=3).publish(client)

    assert client.database.hashes([b"{training_info}.meta"])[0] == {
        b"sample_name": b"\7" + (6).to_bytes(8, "little") + b"fields",
        b"target_name": b"\7" + (6).to_bytes(8, "little") + b"labels",
        b"num_classes": b"\4" + (3).to_bytes(8, "little"),
        b".COMPLETE": b"1",
    }


def test_information_reads_well():
    assert repr(DataInfo("training", "fields", None, 3)) == (
        "DataInfo object\nAggregation list name: training\nSample tensor name: fields\nNumber of classes: 3"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", "fields"), ArgumentValueError),
        (("training", ""), ArgumentValueError),
        ((3, "fields"), ArgumentTypeError),
        (("training", None), ArgumentTypeError),
    ],
)
def test_lists_and_samples_need_names(arguments, error):
    with pytest.raises(error, match=r"list_name|sample_name"):
        DataInfo(*arguments)


# A list that is only named


@pytest.mark.parametrize("target_name", ["labels", "", "fields"])
def test_a_list_that_is_only_named_tells_the_rest_itself(target_name, client, make_plain_feed):
    with TrainingDataUploader("training", "fields", target_name) as uploader:
        uploader.publish_info()
        uploader.put_batch(numbers(1, 2), numbers(10, 20) if target_name == "labels" else None)

    feed = make_plain_feed(data_info_or_list_name="training")

    expected = {"labels": ([1, 2], [10, 20]), "": [1, 2], "fields": ([1, 2], [1, 2])}
    assert one_pass(feed) == [expected[target_name]]


def test_the_number_of_classes_comes_with_the_information(make_plain_feed):
    with TrainingDataUploader("training", "fields", "labels", num_classes=2) as uploader:
        uploader.publish_info()
        uploader.put_batch(numbers(1, 2), numbers(0, 1, dtype="int64"))

    assert one_pass(make_plain_feed(data_info_or_list_name="training")) == [([1, 2], [[1, 0], [0, 1]])]


def test_the_information_is_waited_for(make_plain_feed):
    with TrainingDataUploader("training", "fields", "labels") as uploader:
        uploader.put_batch(numbers(1, 2), numbers(10, 20))
        feed = make_plain_feed(data_info_or_list_name="training", init_samples=False)
        feed.update_data()
        assert feed.num_samples == 0

        uploader.publish_info()

    assert one_pass(feed) == [([1, 2], [10, 20])]


def test_the_information_of_any_producer_will_do(of_entity, make_plain_feed, monkeypatch):
    for name in ("left", "right"):
        with of_entity(name), TrainingDataUploader("training", "fields", "") as uploader:
            uploader.put_batch(numbers(1))
            if name == "right":
                uploader.publish_info()
    monkeypatch.setenv("SSKEYIN", "left,right")

    assert one_pass(make_plain_feed(data_info_or_list_name="training")) == [[1, 1]]


def test_a_description_that_was_handed_in_is_not_changed(make_plain_feed):
    info = DataInfo("training", "fields", None)
    with TrainingDataUploader("training", "fields", "labels") as uploader:
        uploader.publish_info()
        uploader.put_batch(numbers(1, 2), numbers(10, 20))

    assert one_pass(make_plain_feed(data_info_or_list_name=info)) == [[1, 2]]
    assert info.target_name is None


def test_smartredis_names_of_prefixed_information_are_read(of_entity, client, make_plain_feed, monkeypatch):
    with of_entity("simulation"), Client() as producer:
        DataInfo("training", "fields", None).publish(producer)

    assert client.key_exists("simulation.{training_info}.meta")
