"""Growing points, and what is known about them without looking at all again."""

import numpy as np
import pytest

from smartml.monitor.pages.reduction import BLOCK, Extremes
from smartml.monitor.pages.series import Choices, Column, Group


def filled(*parts):
    column = Column()
    for part in parts:
        column.append(np.asarray(part))
    return column


def test_a_column_grows_and_what_was_taken_before_does_not_change():
    column = filled([1, 2])
    before = column.values

    for number in range(1000):
        column.append(np.array([number]))

    assert before.tolist() == [1, 2]
    assert column.values.tolist() == [1, 2, *range(1000)]


def test_integers_become_floats_when_floats_join_them():
    column = filled([2**40], [0.5])

    assert column.values.tolist() == [2.0**40, 0.5]
    assert filled(np.zeros(1, "float32"), np.full(1, 1.1, "float64")).values[1] == 1.1


def test_extremes_of_a_growing_column_are_those_of_the_whole():
    column = Column()
    values = np.random.default_rng(1).normal(size=3000)
    for part in np.split(values, [1, 255, 256, 257, 700, 2900]):
        column.append(part)
        assert len(column.extremes.lowest) == len(column) // BLOCK

    assert (column.extremes.lowest == Extremes.of(values).lowest).all()


@pytest.mark.parametrize(
    ("parts", "rises"),
    [
        ([[1, 2], [2, 3]], True),
        ([[1, 2], [1.5]], False),
        ([[1, 2], [], [2]], True),
        ([[1, float("nan")]], False),
        ([[float("nan")], [1]], False),
        ([[]], True),
    ],
)
def test_a_column_knows_whether_it_rises(parts, rises):
    column, known = Column(), True
    for part in parts:
        column.append(np.array(part, dtype=float))
        known = column.is_rising

    assert known is rises


def test_ranges_are_of_finite_values_and_of_positive_ones():
    column = filled([3.0, -1.0, 0.0])
    assert (column.range(), column.range(positive=True)) == ((-1, 3), (3, 3))

    column.append(np.array([np.inf, np.nan, 0.5]))

    assert (column.range(), column.range(positive=True)) == ((-1, 3), (0.5, 3))
    assert Column().range() == (np.inf, -np.inf)


def group_of(**columns):
    group = Group(list(columns))
    group.append({name: np.asarray(values) for name, values in columns.items()})
    return group


def test_points_that_a_logarithmic_axis_has_no_place_for_are_left_out_and_counted():
    group = group_of(x=[1, 2, 3], y=[1.0, 2.0, 3.0])
    line = group.line("x", "y", False, True)
    # Nothing is left out, and nothing copied.
    assert line.columns()[1] is group.columns["y"]

    group.append({"x": np.array([4, 5, 6, 7]), "y": np.array([0.0, -1.0, np.nan, 8.0])})

    assert line.columns()[0].values.tolist() == [1, 2, 3, 6, 7]
    assert line.left_out == 2
    assert group.line("x", "y", False, False).left_out == 0


def test_points_of_one_field_are_drawn_over_their_ordinals():
    group = group_of(y=[5.0, 6.0])
    line = group.line(None, "y", False, False)
    line.columns()

    group.append({"y": np.array([7.0])})

    assert [column.values.tolist() for column in group.line(None, "y", False, False).columns()] == [
        [0, 1, 2],
        [5, 6, 7],
    ]


def test_points_are_found_by_value_as_they_come():
    group = group_of(t=[1, 1, 2])
    assert group.occurrences("t").positions(1).tolist() == [0, 1]

    group.append({"t": np.array([2, 1, 1])})

    found = group.occurrences("t")
    assert (found.positions(1).tolist(), found.positions(2).tolist()) == ([0, 1, 4, 5], [2, 3])
    assert found.positions(9).tolist() == []
    assert found.values == [1, 2]


def test_no_number_is_no_value_to_choose():
    assert group_of(t=[np.nan, 1.0]).occurrences("t").values == [1]


def test_choices_are_the_values_of_all_groups_in_order():
    choices = Choices()
    first, second = group_of(t=[3, 1]), group_of(t=[2, 3])

    choices.follow([first.occurrences("t"), second.occurrences("t")])
    assert choices.values == [1, 2, 3]

    second.append({"t": np.array([0, 4])})
    choices.follow([first.occurrences("t"), second.occurrences("t")])
    assert choices.values == [0, 1, 2, 3, 4]
