"""Colours: counted by a formula, or by labels that keep theirs."""

import pytest

pytest.importorskip("bokeh", reason="the package 'bokeh' is not installed")

from smartml.monitor.pages.colors import ColorRule, Colors, Formula, find_palette, palette_names

TWO_NAMES = [("run", "a", 0), ("run", "a", 1), ("run", "b", 0), ("run", "b", 1)]


@pytest.mark.parametrize(
    ("formula", "strides", "counted"),
    [
        (Formula.NAME_INDEX, {"num_indices": 2}, [0, 1, 2, 3]),
        (Formula.NAME_INDEX, {}, [0, 1, 1, 2]),
        (Formula.INDEX_NAME, {"num_groups": 2}, [0, 2, 1, 3]),
        (Formula.NAME, {}, [0, 0, 1, 1]),
        (Formula.INDEX, {}, [0, 1, 0, 1]),
    ],
)
def test_a_formula_counts_through_the_palette(formula, strides, counted):
    colors = Colors(ColorRule("Turbo256", formula, num_colors=8, **strides))

    assert colors.of(TWO_NAMES) == [find_palette("Turbo256", 8)[number] for number in counted]


def test_a_formula_begins_again_behind_the_last_colour():
    colors = Colors(ColorRule("Turbo256", Formula.INDEX, num_colors=3))

    assert colors.of([("s", "n", 4)]) == colors.of([("s", "n", 1)])


def test_labels_are_sorted_by_their_numbers_and_spread_over_the_palette():
    groups = [("run 10", "loss", 0), ("run 2", "loss", 0), ("run 1", "loss", 0)]

    assert Colors(ColorRule("Viridis256")).of(groups) == list(reversed(find_palette("Viridis256", 3)))


def test_groups_of_one_label_share_a_colour():
    colors = Colors(ColorRule(key_fun="n")).of(TWO_NAMES)

    assert colors[0] == colors[1] != colors[2] == colors[3]


def test_no_colour_changes_when_others_come():
    for rule in (ColorRule(), ColorRule(key_fun="ns"), ColorRule(formula=Formula.NAME_INDEX)):
        colors = Colors(rule)
        before = colors.of(TWO_NAMES[1:])
        many = [("a run", str(number), 0) for number in range(20)]

        assert colors.of([*many, *TWO_NAMES])[-3:] == before


def test_palettes_are_those_of_bokeh():
    assert {"Viridis8", "Category10_10", "Turbo256", "RdBu11"} <= set(palette_names())
    assert find_palette("Viridis8")[0] == "#440154"
