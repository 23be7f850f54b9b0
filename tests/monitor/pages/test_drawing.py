"""What a plot of a page shows of the points that there are."""

import re
from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("yaml", reason="the package 'PyYAML' is not installed")
pytest.importorskip("bokeh", reason="the package 'bokeh' is not installed")

from smartml.monitor.pages import Axes, Place, load_schema
from smartml.monitor.pages.collection import Collection
from smartml.monitor.pages.drawing import Plot, Wish
from smartml.monitor.records import Block, Cursor, Removal, Update

CURSOR = Cursor("a store", 0, 0)
WISH = Wish(400, 300)


def block(scope, name, index=0, **fields):
    return Block(scope, name, index, {key: np.asarray(values) for key, values in fields.items()})


def collection(*blocks):
    made = Collection()
    made.apply(Update(CURSOR, list(blocks)))
    return made


def plot(settings="{}", axes=Axes.LIN, names=None, scopes=".*"):
    schema = load_schema(f"a: {settings}")["a"]
    return Plot(Place("a", 1.0, names and re.compile(names), axes), schema, re.compile(scopes))


def points(trace):
    return trace.label, trace.x.tolist(), trace.y.tolist()


def test_each_group_is_a_trace_with_its_label():
    drawn = plot().draw(
        collection(block("run", "loss", x=[1, 2], y=[3.0, 4.0]), block("run", "loss", 1, x=[1], y=[5.0])), WISH
    )

    assert [points(trace) for trace in drawn.traces] == [
        ("run-loss-0", [1, 2], [3.0, 4.0]),
        ("run-loss-1", [1], [5.0]),
    ]
    assert (drawn.total, drawn.shown, drawn.left_out, drawn.warnings, drawn.slider) == (3, 3, 0, (), None)
    assert drawn.x == (1, 2)
    assert drawn.y == pytest.approx((2.9, 5.1))


def test_a_schema_matches_whole_names_and_an_address_any_part_of_names_and_scopes():
    there = collection(
        *(block(scope, name, x=[0], y=[0]) for scope in ("run 1", "run 2") for name in ("loss", "loss of test"))
    )

    def labels(made):
        return [trace.label for trace in made.draw(there, WISH).traces]

    assert labels(plot("{name_pattern: loss}")) == ["run 1-loss-0", "run 2-loss-0"]
    assert labels(plot("{name_pattern: loss}", names="test")) == ["run 1-loss of test-0", "run 2-loss of test-0"]
    assert labels(plot(names="loss$", scopes="2")) == ["run 2-loss-0"]
    assert labels(plot(names="nothing")) == []


def test_columns_choose_what_is_x_and_what_is_y():
    there = collection(block("s", "n", a=[1], b=[2], t=[3]))

    [trace] = plot("{columns: [b, a, t], filter_opts: {column: t}}").draw(there, WISH).traces
    assert points(trace) == ("s-n-0", [2], [1])
    [trace] = plot().draw(there, WISH).traces
    assert points(trace) == ("s-n-0", [1], [2])


def test_a_single_column_is_drawn_over_its_ordinals():
    [trace] = plot().draw(collection(block("s", "n", loss=[5.0, 4.0, 3.0])), WISH).traces

    assert points(trace) == ("s-n-0", [0, 1, 2], [5, 4, 3])


def test_points_that_do_not_fit_the_schema_are_named_and_the_others_drawn():
    there = collection(block("s", "fits", x=[1], y=[1]), block("s", "other", x=[1], z=[1]))

    drawn = plot("{columns: [x, y]}").draw(there, WISH)

    assert [trace.label for trace in drawn.traces] == ["s-fits-0"]
    assert drawn.warnings == ("'other' of 's' is not drawn: it has x, z, the schema's columns are x, y",)


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero_and_counts_it():
    there = collection(block("s", "n", x=[-1.0, 0.0, 1.0, 10.0], y=[1.0, 1.0, 0.0, 2.0]))

    drawn = plot(axes=Axes.XYLOG).draw(there, WISH)

    assert points(drawn.traces[0]) == ("s-n-0", [10], [2])
    assert (drawn.total, drawn.shown, drawn.left_out) == (4, 1, 3)
    assert 0 < drawn.x[0] < 10 < drawn.x[1]


@pytest.mark.parametrize("axes", list(Axes))
def test_a_plot_of_nothing_has_axes_all_the_same(axes):
    drawn = plot(axes=axes).draw(Collection(), WISH)

    assert drawn.traces == ()
    assert drawn.x[0] < drawn.x[1] and drawn.y[0] < drawn.y[1]
    assert not axes.is_log_x or drawn.x[0] > 0


@pytest.mark.parametrize("axes", list(Axes))
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e300, 5e-324, 1.7e308, -1.7e308, np.inf, np.nan])
def test_no_value_leaves_an_axis_without_an_extent(axes, value):
    for values in ([value], [value, 1.0], [value, -value]):
        drawn = plot(axes=axes).draw(collection(block("s", "n", x=values, y=values)), WISH)

        for low, high in (drawn.x, drawn.y):
            assert low < high
            assert np.isfinite([low, high]).all()


def test_what_the_user_zoomed_to_is_shown_and_y_follows_the_line_there():
    there = collection(block("s", "n", x=np.arange(100), y=np.arange(100.0)))

    drawn = plot().draw(there, WISH._replace(x=(10.0, 20.0)))

    assert drawn.x == (10, 20)
    assert drawn.y == pytest.approx((9.5, 20.5))
    # Half a view on either side, to drag into.
    assert (drawn.traces[0].x.min(), drawn.traces[0].x.max()) == (4, 26)
    assert plot().draw(there, WISH._replace(x=(10.0, 20.0), y=(0.0, 5.0))).y == (0, 5)


def test_ranges_of_the_schema_are_shown_first():
    drawn = plot("{figure_kwargs: {x_range: [0, 10], y_range: [-1, 1]}}").draw(
        collection(block("s", "n", x=[5], y=[7])), WISH
    )

    assert (drawn.x, drawn.y) == ((0, 10), (-1, 1))


def test_a_slider_follows_the_last_value_until_it_is_moved():
    there = collection(block("s", "n", x=[1, 2], y=[1, 2], t=[10, 20]))
    made = plot("{columns: [x, y, t], filter_opts: {column: t}}")

    def shown():
        drawn = made.draw(there, WISH)
        return drawn.slider.value, drawn.slider.position, drawn.slider.count, drawn.traces[0].x.tolist()

    assert shown() == (20, 1, 2, [2])

    there.apply(Update(CURSOR, [block("s", "n", x=[3], y=[3], t=[30])]))
    assert shown() == (30, 2, 3, [3])

    made.choose(0)
    there.apply(Update(CURSOR, [block("s", "n", x=[0, 4, 1], y=[0, 4, 1], t=[5, 40, 10])]))
    # The value stays, wherever it stands now.
    assert shown() == (10, 1, 5, [1, 1])

    made.choose(4)
    there.apply(Update(CURSOR, [block("s", "n", x=[5], y=[5], t=[50])]))
    assert shown() == (50, 5, 6, [5])


def test_axes_do_not_jump_when_the_slider_moves():
    there = collection(block("s", "n", x=[1, 2], y=[1, 2], t=[10, 20]))
    made = plot("{columns: [x, y, t], filter_opts: {column: t}}")
    before = made.draw(there, WISH)

    made.choose(0)

    assert (made.draw(there, WISH).x, made.draw(there, WISH).y) == (before.x, before.y)


def test_a_field_has_a_row_for_each_index_and_is_the_latest_one():
    matrix = np.arange(6.0).reshape(2, 3)
    there = collection(
        *(block("s", "u", 4 + row, t=[0] * 3 + [1] * 3, value=[*matrix[row], *(matrix[row] + 10)]) for row in (1, 0))
    )
    made = plot("{glyph_kind: field, filter_opts: {column: t}}")

    drawn = made.draw(there, WISH)

    [field] = drawn.fields
    assert field.values.tolist() == (matrix + 10).tolist()
    assert (field.label, field.x, field.y) == ("s-u", (-0.5, 2.5), (3.5, 5.5))
    assert (drawn.limits, drawn.shown, drawn.total) == ((10, 15), 6, 12)
    made.choose(0)
    assert made.draw(there, WISH).fields[0].values.tolist() == matrix.tolist()


def test_a_field_that_has_not_wholly_come_has_holes():
    there = collection(block("s", "u", 0, value=[1.0, 2.0]), block("s", "u", 2, value=[3.0]))

    [field] = plot("{glyph_kind: field}").draw(there, WISH).fields

    assert np.isnan(field.values).tolist() == [[False, False], [True, True], [False, True]]


def test_fields_of_several_names_stand_side_by_side_with_one_scale():
    there = collection(block("s", "u", value=[1.0, 2.0]), block("s", "v", value=[3.0, 4.0]))

    drawn = plot("{glyph_kind: field, color: {key_fun: n}}").draw(there, WISH)

    first, second = drawn.fields
    assert (first.label, second.label) == ("u", "v")
    assert first.x[1] < second.x[0]
    assert drawn.limits == (1, 4)
    assert drawn.x == (first.x[0], second.x[1])


@pytest.mark.parametrize(
    ("options", "limits"),
    [("{}", (-1, 3)), ("{center: 0}", (-3, 3)), ("{low: 0}", (0, 3)), ("{center: 0, low: -9, high: 9}", (-9, 9))],
)
def test_the_colours_of_a_field_reach_over_its_values_unless_told(options, limits):
    there = collection(block("s", "u", value=[-1.0, np.nan, 3.0]))

    assert plot(f"{{glyph_kind: field, glyph_kwargs: {options}}}").draw(there, WISH).limits == limits


def test_a_field_larger_than_any_screen_is_averaged():
    values = np.tile([0.0, 2.0], 3000)

    [field] = plot("{glyph_kind: field}").draw(collection(block("s", "u", value=values)), WISH).fields

    assert field.values.shape == (1, 2000)
    assert set(field.values.ravel().tolist()) <= {np.float32(2 / 3), np.float32(4 / 3)}


def test_deleted_names_and_scopes_are_gone_and_what_comes_later_is_new():
    there = collection(block("s", "n", x=[1], y=[1]), block("s", "m", x=[1], y=[1]), block("r", "n", x=[1], y=[1]))

    there.apply(Update(CURSOR, [block("s", "n", x=[9], y=[9])], [Removal("s", "n"), Removal("r")]))

    assert [points(trace) for trace in plot().draw(there, WISH).traces] == [("s-m-0", [1], [1]), ("s-n-0", [9], [9])]
    there.apply(Update(CURSOR, reset=True))
    assert plot().draw(there, WISH).traces == ()
    assert there.names() == {}


def test_a_plot_is_stamped_anew_by_its_own_points_alone():
    there = collection(block("s", "mine", x=[1], y=[1]))
    made = plot("{name_pattern: mine}")
    before = made.stamp(there)

    there.apply(Update(CURSOR, [block("s", "other", x=[1], y=[1])]))
    assert made.stamp(there) == before

    there.apply(Update(CURSOR, [block("s", "mine", x=[1], y=[1])]))
    assert made.stamp(there) != before


def test_names_are_counted_for_the_page_of_contents():
    there = collection(block("s", "n", x=[1, 2], y=[1, 2]), block("s", "n", 1, x=[1], y=[1]), block("r", "m", x=[1]))

    assert isinstance(there.names(), Mapping)
    assert there.names() == {"s": {"n": 3}, "r": {"m": 1}}
