"""What each plain step does, and what it refuses."""

import pytest

from smartml.errors import SpentSourceError
from smartml.pipeline import IterableSource


def add(x, number=1):
    return x + number


# map and filter


def test_map_calls_the_function_with_its_keywords():
    assert IterableSource([1, 2]).map(add, number=10).collect() == [11, 12]


@pytest.mark.parametrize("maps", [1, 2, 3, 4, 5, 9])
def test_maps_in_a_row_are_called_in_their_order(maps):
    chain = IterableSource(["x"])
    for number in range(maps):
        chain = chain.map(lambda text, number=number: f"{text}{number}")

    assert chain.collect() == ["x" + "".join(map(str, range(maps)))]


def test_an_error_of_the_function_comes_at_its_item_and_ends_the_pass():
    begun = iter(IterableSource([1, 0, 2]).map(lambda x: 1 / x))

    assert next(begun) == 1
    with pytest.raises(ZeroDivisionError):
        next(begun)
    assert list(begun) == []


def test_stop_iteration_from_a_function_does_not_end_the_stream_in_silence():
    with pytest.raises(RuntimeError, match="StopIteration"):
        IterableSource([1]).map(lambda x: next(iter(()))).collect()


@pytest.mark.parametrize("refused", [3, None, "text"])
def test_what_cannot_be_called_is_refused_when_the_step_is_built(refused):
    with pytest.raises(TypeError, match="map takes something to call"):
        IterableSource([1]).map(refused)
    with pytest.raises(TypeError, match="to takes something to call"):
        IterableSource([1]).to(refused)


def test_filter_keeps_what_is_true_of_the_predicate():
    assert IterableSource([0, 1, "", "a"]).filter(lambda x: x).collect() == [1, "a"]


# flatten, take


def test_flatten_goes_down_one_level():
    assert IterableSource([[1, [2]], "ab", {"k": 0}, []]).flatten().collect() == [1, [2], "a", "b", "k"]


def test_flatten_refuses_an_item_that_is_not_iterable():
    with pytest.raises(TypeError):
        IterableSource([[1], 2]).flatten().collect()


def test_take_pulls_no_item_behind_the_last():
    pulled = []

    def numbers():
        for number in range(10):
            pulled.append(number)
            yield number

    assert IterableSource(numbers).take(3).collect() == [0, 1, 2]
    assert pulled == [0, 1, 2]


def test_take_gives_what_there_is():
    chain = IterableSource([1, 2])

    assert chain.take(5).collect() == [1, 2]
    assert chain.take(0).collect() == []
    assert chain.take(None) is chain


@pytest.mark.parametrize(
    ("refused", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_take_refuses_what_is_no_number_when_it_is_built(refused, error):
    with pytest.raises(error):
        IterableSource([1]).take(refused)


# loop


def test_loop_reads_its_source_again_in_each_round():
    assert IterableSource([1, 2]).map(add).loop(3).collect() == [2, 3, 2, 3, 2, 3]
    assert IterableSource([1, 2]).loop().take(5).collect() == [1, 2, 1, 2, 1]
    assert IterableSource([1]).loop(0).collect() == IterableSource([1]).loop(-1).collect() == []


def test_loop_counts_the_rounds_that_are_done_in_the_pass_begun_last():
    loop = IterableSource("abc").loop(3)
    assert loop.counter == 0

    for _ in range(2):
        assert [loop.counter for _ in loop] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert loop.counter == 3


def test_loop_calls_a_generator_function_again():
    def numbers():
        yield from (1, 2)

    assert IterableSource(numbers).loop(2).collect() == [1, 2, 1, 2]


def test_loop_says_so_when_its_source_can_be_read_only_once():
    chain = IterableSource(iter([1, 2])).map(add).loop(2)

    with pytest.raises(SpentSourceError, match="round 2 of a loop found nothing left"):
        chain.collect()


def test_a_loop_for_ever_ends_when_a_round_gives_nothing():
    rounds = iter([[1, 2], [3], []])

    assert IterableSource([]).loop().collect() == []
    assert IterableSource([1]).filter(lambda x: x > 1).loop().collect() == []
    assert IterableSource(lambda: next(rounds)).loop().collect() == [1, 2, 3]


def test_loop_does_not_copy_items():
    item = []

    assert all(given is item for given in IterableSource([item]).loop(2))


# zip_index, to, compose, tqdm


def test_zip_index_counts_from_zero_in_each_pass():
    chain = IterableSource("ab").zip_index()

    assert chain.collect() == chain.collect() == [(0, "a"), (1, "b")]


def test_zip_index_pads_its_numbers():
    assert IterableSource("abc").zip_index(pad_length=2).map(lambda it: it[0]).collect() == ["00", "01", "02"]
    assert list(IterableSource(range(101)).zip_index(2))[-1] == ("100", 100)


def test_to_takes_what_the_function_makes_of_the_iterator():
    def every(items, step, start=0):
        yield from list(items)[start::step]

    chain = IterableSource(range(6))
    assert chain.to(every, 2, start=1).collect() == [1, 3, 5]
    assert chain.to(sorted, reverse=True).collect() == [5, 4, 3, 2, 1, 0]


def test_to_refuses_a_keyword_that_is_the_iterators():
    with pytest.raises(ValueError, match="source"):
        IterableSource([1]).to(sorted, source=[2])


def test_tqdm_shows_a_bar(capsys):
    pytest.importorskip("tqdm")

    assert IterableSource([1, 2, 3]).tqdm(total=3, desc="three").collect() == [1, 2, 3]

    assert "three: 100%" in capsys.readouterr().err
