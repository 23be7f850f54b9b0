"""What is drawn of very many points: few, real ones, and all that can be seen."""

import numpy as np
import pytest

from smartml.monitor.pages.reduction import BLOCK, Extremes, View, reduce_line, reduce_scatter, reduce_tangle

WIDTH = 400


def view(left, right, width=WIDTH):
    return View(left, right, 0.0, 1.0, width, 300)


def reduced(x, y, window, project=np.asarray):
    return reduce_line(x, y, Extremes.of(y), window, project)


def columns_of(x, window, project=np.asarray):
    left, right, at = project(float(window.left)), project(float(window.right)), project(x.astype(float))
    return np.floor((at - left) * (window.width / (right - left))).astype(int)


def ends(columns, y):
    """The lowest and highest value in each column of pixels."""
    return {column: (y[columns == column].min(), y[columns == column].max()) for column in np.unique(columns)}


def test_few_points_are_all_drawn_and_one_beyond_either_edge():
    x, y = np.arange(1000), np.arange(1000.0)

    assert reduced(x, y, view(10, 20)).tolist() == list(range(9, 22))
    assert reduced(x, y, view(-5, 2)).tolist() == [0, 1, 2, 3]
    assert reduced(x, y, view(998.5, 2000)).tolist() == [998, 999]
    assert len(reduced(x[:0], y[:0], view(0, 1))) == 0


@pytest.mark.parametrize("count", [5_000, 99_999, 1_000_000])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_each_column_of_pixels_keeps_its_first_lowest_highest_and_last_point(count, dtype):
    rng = np.random.default_rng(3)
    x, y = np.arange(count), (rng.normal(size=count) * 1000).astype(dtype)
    window = view(0, count)

    chosen = reduced(x, y, window)

    assert len(chosen) <= 4 * WIDTH
    assert (np.diff(chosen) > 0).all()
    all_columns = columns_of(x, window)
    all_ends, found = ends(all_columns, y), ends(all_columns[chosen], y[chosen])
    if count < 100_000:
        assert found == all_ends
    else:
        # A block that lies across an edge belongs to the column in which its extreme is.
        assert sum(found[column] != all_ends[column] for column in all_ends) < WIDTH / 20
        assert (y[chosen].min(), y[chosen].max()) == (y.min(), y.max())


@pytest.mark.parametrize("zoom", [1, 10, 100, 1000])
def test_every_spike_of_one_point_in_millions_is_drawn(zoom):
    count = 2_000_000
    spikes = np.random.default_rng(1).choice(count, 50, replace=False)
    x, y = np.arange(count), np.zeros(count, "float32")
    y[spikes] = 1
    y[spikes[:20]] = -1
    for start in np.linspace(0, count - count / zoom, 5):
        window = view(start, start + count / zoom)

        chosen = reduced(x, y, window)

        inside = [spike for spike in spikes if start <= spike <= window.right]
        drawn_columns = set(columns_of(x[chosen[y[chosen] != 0]], window))
        assert {*columns_of(np.array(inside, dtype=float), window)} <= drawn_columns
        assert len(chosen) <= 4 * WIDTH + 2


def test_where_points_are_sparse_beside_dense_ones_none_is_lost():
    # A thousand seconds with a point each, among a million points of one second.
    sparse = np.arange(1000.0)
    x = np.sort(np.concatenate([sparse, 500 + np.linspace(0.001, 0.999, 1_000_000)]))
    y = np.sin(x * 40)
    window = view(0, 1000, 4000)

    chosen = reduced(x, y, window)

    assert set(sparse) <= set(x[chosen])


def test_columns_of_a_logarithmic_axis_are_equal_there():
    x = np.arange(1, 2_000_001)
    y = np.random.default_rng(2).normal(size=len(x))
    window = view(1, 2_000_000)

    chosen = reduced(x, y, window, np.log)

    # The first decade is a sixth of the width, and has nine points.
    assert set(range(1, 10)) <= set(x[chosen])
    assert len(chosen) <= 4 * WIDTH + 2


def test_gaps_stay_where_they_can_be_seen_and_hide_no_spike():
    y = np.array([0.0, np.nan, 1.0])
    assert reduced(np.arange(3), y, view(0, 3)).tolist() == [0, 1, 2]

    many = np.full(300_000, np.nan)
    many[::3] = 0.0
    many[150_000] = 5.0
    chosen = reduced(np.arange(len(many)), many, view(0, len(many)))
    assert np.nanmax(many[chosen]) == 5


def test_extremes_are_the_same_in_one_go_and_as_they_come():
    y = np.random.default_rng(4).normal(size=10 * BLOCK + 17)
    parts = Extremes.of(y[: 3 * BLOCK + 5]).then(Extremes.of(y, 3 * BLOCK))

    whole = Extremes.of(y)

    assert len(whole.lowest) == 10
    assert (parts.lowest == whole.lowest).all() and (parts.highest == whole.highest).all()


def test_a_line_that_goes_to_and_fro_keeps_its_outline():
    turn = np.linspace(0, 200 * np.pi, 500_000)
    x, y = np.cos(turn) * turn, np.sin(turn) * turn

    chosen = reduce_tangle(x, y)

    assert len(chosen) < 30_000
    for values in (x, y):
        assert (values[chosen].min(), values[chosen].max()) == (values.min(), values.max())
    assert len(reduce_tangle(x[:100], y[:100])) == 100


def test_a_scatter_has_a_point_in_every_cell_that_had_any_and_no_outlier_is_lost():
    rng = np.random.default_rng(5)
    x, y = rng.normal(0.5, 0.05, (2, 500_000))
    x[77], y[77] = 0.99, 0.01
    window = view(0, 1)

    chosen = reduce_scatter(x, y, window, (np.asarray, np.asarray))

    def cells(x, y):
        return set(zip((x * 200).astype(int).tolist(), (y * 150).astype(int).tolist(), strict=True))

    assert 77 in chosen
    assert cells(x[chosen], y[chosen]) == cells(x, y)
    assert len(chosen) == len(cells(x, y))


def test_a_scatter_of_few_points_is_drawn_as_it_is_and_only_what_is_in_view():
    x, y = np.array([0.1, 0.1, 0.1, 2.0]), np.array([0.2, 0.2, np.nan, 0.2])

    assert reduce_scatter(x, y, view(0, 1), (np.asarray, np.asarray)).tolist() == [0, 1]
