"""Addresses of pages: which shares they give, and what is said of each mistake."""

from urllib.parse import parse_qs

import pytest

from smartml.errors import ArgumentValueError
from smartml.monitor.pages import Axes, parse_layout

PLOTS = ("A", "B", "C")


def read(address):
    return parse_layout(parse_qs(address, keep_blank_values=True), PLOTS)


def shares(layout):
    """Every box's share of the page, and its plots with theirs of the box."""
    return [(box.share, [(place.plot, place.share) for place in box.places]) for box in layout.boxes]


def test_rows_take_widths_of_plots_and_heights_of_boxes():
    layout = read("rows=A,B;C&width=1,2,1&height=1,2")

    assert not layout.by_columns
    assert shares(layout) == [(1 / 3, [("A", 1 / 3), ("B", 2 / 3)]), (2 / 3, [("C", 1)])]


def test_columns_take_heights_of_plots_and_widths_of_boxes():
    layout = read("cols=A,B;C&width=2,1&height=1,2,1")

    assert layout.by_columns
    assert shares(layout) == [(2 / 3, [("A", 1 / 3), ("B", 2 / 3)]), (1 / 3, [("C", 1)])]


@pytest.mark.parametrize("mode", ["rows", "cols"])
def test_shares_are_equal_unless_told(mode):
    assert shares(read(f"{mode}=A,B;C")) == [(0.5, [("A", 0.5), ("B", 0.5)]), (0.5, [("C", 1)])]


def test_a_plot_may_be_there_twice_with_other_names():
    first, second = read("rows=A;A&names=train&names=test").places

    assert (first.plot, second.plot) == ("A", "A")
    # Anywhere in the name, unlike the pattern of a schema.
    assert first.names.search("my training") and not first.names.search("my testing")
    assert second.names.search("latest")


def test_names_are_left_to_the_schema_and_scopes_are_all():
    layout = read("rows=A")

    assert layout.places[0].names is None
    assert layout.scopes.search("any")
    assert read("rows=A&scopes=run%5B12%5D").scopes.search("my run2") is not None


def test_axes_belong_to_plots_in_their_order():
    layout = read("rows=A,B;C,A&axes=lin,xlog,ylog,xylog")

    assert [place.axes for place in layout.places] == [Axes.LIN, Axes.XLOG, Axes.YLOG, Axes.XYLOG]
    assert [(place.axes.is_log_x, place.axes.is_log_y) for place in layout.places] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]


MISTAKES = {
    "": "a page needs either rows or cols, and none is given",
    "width=1": "a page needs either rows or cols, and none is given",
    "rows=A&cols=B": "a page needs either rows or cols, and both are given",
    "rows=A&rows=B": "rows is given 2 times: give it once",
    "rows=": "rows has an empty item",
    "rows=A,,B": "rows has an empty item",
    "cols=A;": "cols has an empty item",
    "rows=A,D": "rows names the plot 'D', which the schema has not: it has 'A', 'B', 'C'",
    "rows=DEFAULTS": "rows names the plot 'DEFAULTS'",
    "rows=A,B;C&width=1,2": "width has 2 numbers, and there must be 3: one for each plot",
    "rows=A,B;C&height=1,2,3": "height has 3 numbers, and there must be 2: one for each of the rows",
    "cols=A,B;C&height=1,2": "height has 2 numbers, and there must be 3: one for each plot",
    "cols=A,B;C&width=1": "width has 1 numbers, and there must be 2: one for each of the cols",
    "rows=A&width=wide": "width has the item 'wide', which is not a number",
    "rows=A&width=": "width has the item '', which is not a number",
    "rows=A&height=0": "height has the number 0: each must be above 0",
    "rows=A&height=-1": "height has the number -1",
    "rows=A&width=nan": "width has the number nan",
    "rows=A&width=inf": "width has the number inf",
    "rows=A,B&width=1e308,1e308": "width has numbers whose sum is too large",
    "rows=A&width=1&width=1": "width is given 2 times",
    "rows=A&height=1&height=1": "height is given 2 times",
    "rows=A,B&names=x": "names is given 1 times, and there must be 2",
    "rows=A&names=x&names=y": "names is given 2 times, and there must be 1",
    "rows=A&names=(": "names is '(', which is no regular expression",
    "rows=A&scopes=*": "scopes is '*', which is no regular expression",
    "rows=A&scopes=a&scopes=b": "scopes is given 2 times",
    "rows=A,B&axes=lin": "axes has 1 items, and there must be 2",
    "rows=A&axes=log": "axes has the item 'log': each is one of lin, xlog, ylog, xylog",
    "rows=A&axes=lin&axes=lin": "axes is given 2 times",
    "rows=A&heigth=1": "there is no parameter 'heigth': known are rows, cols, names, scopes, width, height, axes",
}


@pytest.mark.parametrize(("address", "words"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_named(address, words):
    with pytest.raises(ArgumentValueError) as raised:
        read(address)

    assert words in str(raised.value)
