"""What a chain tells of itself."""

from smartml.pipeline import IterableSamplerSource, IterableSource


def double(x):
    return 2 * x


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_a_chain_is_described_without_running():
    def never():
        raise AssertionError

    chain = IterableSource(never).map(double).async_map(double, buffer=7).batched(3)

    assert chain.explain().splitlines() == [
        "IterableSource",
        "map(double)",
        "async_map(double, buffer=7, threads)",
        "batched(3, True)",
    ]


def test_members_of_a_mixture_stand_further_in():
    chain = IterableSamplerSource([IterableSource([1]).map(double), [2]]).filter(double)

    assert chain.explain().splitlines() == [
        "  IterableSource",
        "  map(double)",
        "IterableSamplerSource",
        "filter(double)",
    ]


def test_a_measured_pass_counts_what_each_step_gave():
    chain = IterableSource(range(100)).map(double).map(double).filter(lambda x: x % 8 == 0).batched(2)

    table = rows(chain.explain(5))

    assert [row[0] for row in table] == [
        "step",
        "IterableSource",
        "map(double)",
        "map(double)",
        "filter(<lambda>)",
        "batched(2,",
    ]
    assert [row[1] for row in table[1:5]] == ["19", "19", "19", "10"]
    assert table[5][2] == "5"


def test_a_measured_pass_may_reach_the_end_and_a_loop_adds_up_its_rounds():
    table = rows(IterableSource(range(4)).map(double).loop(2).explain(100))

    assert [row[1] for row in table[1:]] == ["8", "8", "8"]


def test_steps_that_work_ahead_tell_how_much_is_under_way():
    text = IterableSource(range(50)).async_map(double, buffer=5).explain(50)

    assert "under way" in text
    *_, under_way = rows(text)[-1]
    assert 0 <= float(under_way) <= 5


def test_measuring_changes_nothing_that_comes_after():
    chain = IterableSource(range(20)).shuffle(5, seed=1).map(double)
    expected = chain.collect()

    chain.explain(3)

    assert chain.collect() == expected
