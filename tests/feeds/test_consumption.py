"""What may be deleted, whatever groups acknowledge and producers drop, in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartml.errors import MetadataError
from smartml.feeds.consumption import Consumption
from smartml.feeds.intervals import Intervals

GROUPS = st.sampled_from(["a", "b", "c"])
POSITIONS = st.sets(st.integers(0, 8)).map(Intervals.of)
ACTS = st.one_of(
    st.tuples(st.just("registered"), GROUPS),
    st.tuples(st.just("acknowledged"), GROUPS, POSITIONS),
    st.tuples(st.just("dropping"), POSITIONS),
    st.tuples(st.just("without_condemned"), POSITIONS),
)


def replay(acts):
    record = Consumption()
    for name, *arguments in acts:
        record = getattr(record, name)(*arguments)
    return record


def test_a_batch_goes_when_both_groups_have_it():
    record = Consumption().registered("a").registered("b")

    record = record.acknowledged("a", Intervals.of([0, 1]))
    assert list(record.gone) == []

    record = record.acknowledged("b", Intervals.of([1, 2]))
    assert list(record.condemned) == [1]


def test_a_group_that_leaves_is_waited_for_no_more():
    record = Consumption().registered("a").registered("b").acknowledged("a", Intervals.of([0, 1]))

    assert list(record.without("b").condemned) == [0, 1]


def test_replicas_of_a_group_acknowledge_together():
    record = Consumption().acknowledged("a", Intervals.of([0, 2])).acknowledged("a", Intervals.of([1, 3]))

    assert record.condemned == Intervals(((0, 4),))


def test_the_tensors_that_any_group_reads_are_known():
    record = Consumption().registered("a", ["points"]).registered("b", ["points", "values"])

    assert record.prefixes == ("points", "values")


@given(st.lists(ACTS))
def test_a_record_comes_back_as_it_was_written(acts):
    record = replay(acts)

    assert Consumption.parse(record.format(), "key") == record


@given(st.lists(ACTS))
def test_nothing_goes_that_a_registered_group_has_not_acknowledged_or_a_producer_dropped(acts):
    acknowledged, dropped, registered, allowed = {}, set(), set(), set()
    record = Consumption()
    for name, *arguments in acts:
        record = getattr(record, name)(*arguments)
        if name in ("registered", "acknowledged"):
            registered.add(arguments[0])
        if name == "acknowledged":
            acknowledged.setdefault(arguments[0], set()).update(arguments[1])
        if name == "dropping":
            dropped |= set(arguments[0])
        # What was allowed to go once stays so, whoever registers later.
        if registered:
            allowed |= set.intersection(*(acknowledged.get(group, set()) for group in registered))
        assert set(record.gone) <= allowed | dropped


@given(st.lists(ACTS))
def test_every_act_may_be_repeated(acts):
    record = Consumption()
    for name, *arguments in acts:
        record = getattr(record, name)(*arguments)
        assert getattr(record, name)(*arguments) == record


@given(st.lists(ACTS))
def test_what_is_gone_stays_gone_and_is_deleted_only_after_it_was_condemned(acts):
    record = Consumption()
    for name, *arguments in acts:
        after = getattr(record, name)(*arguments)
        assert not record.gone - after.gone
        assert not after.deleted - (record.condemned | record.deleted)
        assert not after.condemned & after.deleted
        record = after


@given(st.lists(ACTS))
def test_a_record_does_not_grow_with_what_is_gone(acts):
    record = replay(acts)

    for group in record.groups.values():
        assert not group.acknowledged & record.gone


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"groups": 3, "condemned": [], "deleted": [], "dropped": 0}'])
def test_a_damaged_record_is_named(text):
    with pytest.raises(MetadataError, match="the record 'key' is damaged"):
        Consumption.parse(text, "key")
