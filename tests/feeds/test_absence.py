"""What a user reads when the samples do not come."""

import pytest

from smartml import Client
from smartml.errors import FeedTimeoutError
from smartml.feeds import DataDownloader, DataInfo

from .conftest import numbers


def told(**arguments):
    """The message of a feed that waits in vain."""
    with pytest.raises(FeedTimeoutError) as caught:
        DataDownloader(**{"sample_prefix": "points", "wait_timeout_s": 0, **arguments})
    return str(caught.value)


def test_an_empty_database_holds_nothing_similar(client, server):
    assert told() == (
        "0 samples are there, 32 are needed for a batch, and none came within 0 s. "
        f"Looked for 'points_0' at {server.address}; nothing similar is there"
    )


def test_a_misspelled_prefix_shows(client):
    client.put_tensors({f"{name}_{iteration}": numbers(1) for name in ("points", "values") for iteration in range(20)})

    message = told(target_prefix="value")

    # The samples are there, and are not what is missing.
    assert "Looked for 'value_0' at" in message
    assert "similar keys there: 'values_0'" in message


def test_ranks_that_were_not_named_show(client):
    client.put_tensors({f"points_{rank}_0": numbers(rank) for rank in range(2)})

    assert "'points_0_0'" in told()


def test_another_order_of_ranks_shows(client):
    client.put_tensors({f"points_{iteration}_1": numbers(iteration) for iteration in range(3)})

    message = told(uploader_ranks=2)

    assert "Looked for 'points_0_0', 'points_1_0' at" in message
    assert "similar keys there: 'points_0_1'" in message


def test_a_producer_without_key_prefixing_shows(client, monkeypatch):
    client.put_tensor("points_0", numbers(1))
    monkeypatch.setenv("SSKEYIN", "a_simulation_with_a_very_long_name")

    message = told()

    assert "Looked for 'a_simulation_with_a_very_long_name.points_0' at" in message
    assert "similar keys there: 'points_0'" in message


def test_a_producer_that_was_not_registered_shows(client, of_entity):
    with of_entity("a_simulation_with_a_very_long_name"), Client() as producer:
        producer.put_tensor("points_0", numbers(1))

    assert "similar keys there: 'a_simulation_with_a_very_long_name.points_0'" in told()


def test_only_a_few_of_many_keys_are_named(client):
    assert "Looked for 'points_0_0', 'points_1_0', 'points_2_0', 'points_3_0' and 996 more at" in told(
        uploader_ranks=1000
    )


def test_a_prefix_with_letters_of_patterns_is_taken_literally(client):
    client.put_tensors({"p*[0]?^\\_1": numbers(1), "pxx0yz_0": numbers(1)})

    message = told(sample_prefix="p*[0]?^\\")

    assert repr("p*[0]?^\\_1") in message
    assert "pxx0yz_0" not in message


def test_a_list_that_nobody_appends_to_is_named(client):
    message = told(sample_prefix=None, data_info_or_list_name=DataInfo("training"))

    assert "Looked for 'training' at" in message


def test_an_entry_whose_dataset_is_missing_is_named(client):
    client.database.command("RPUSH", "training", "{batch_7}")

    message = told(sample_prefix=None, data_info_or_list_name=DataInfo("training"))

    assert "Looked for 'training', '{batch_7}.meta' at" in message


def test_information_that_was_not_published_is_named(client):
    message = told(sample_prefix=None, data_info_or_list_name="training")

    assert "Looked for '{training_info}.meta' at" in message
