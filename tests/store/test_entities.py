"""The states of entities, as programs of an experiment see them."""

import pytest

from smartml.errors import MetadataError
from smartml.store.entities import EntityState, publish_entity, read_entities


def test_what_was_published_last_is_read(client):
    assert read_entities(client.database) == {}

    publish_entity(client.database, EntityState("producer", "Running", "producer"))
    publish_entity(client.database, EntityState("trainer ü", "Running"))
    publish_entity(client.database, EntityState("producer", "Failed", "producer"))

    assert read_entities(client.database) == {
        "producer": EntityState("producer", "Failed", "producer"),
        "trainer ü": EntityState("trainer ü", "Running", ""),
    }


def test_an_entity_has_ended_in_whatever_way():
    states = ("Running", "Paused", "Queued", "Completed", "Failed", "Cancelled")
    assert [state for state in states if EntityState("a", state).has_ended] == ["Completed", "Failed", "Cancelled"]


@pytest.mark.parametrize("content", ["", "text", "[]", "{}", '{"status": "Running"}'])
def test_what_no_experiment_wrote_is_named(client, raw, content):
    raw.hset(".smartml.entities", "a", content)
    with pytest.raises(MetadataError, match=r"the state of entity b'a' under '.smartml.entities' is damaged"):
        read_entities(client.database)
