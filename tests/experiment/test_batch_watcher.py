"""How often a batch system is asked."""

import pytest

from smartml.errors import ArgumentValueError
from smartml.experiment.batch_watcher import INTERVAL_VARIABLE, Pace, pace_of_environment


def test_intervals_grow_while_nothing_happens_and_shrink_when_something_does():
    pace = Pace(first_s=1, growth=2, at_most_s=5)
    intervals = [pace.first_s]
    for has_changed in (False, False, False, False, True, True):
        intervals.append(pace.after(intervals[-1], has_changed))
    assert intervals == [1, 2, 4, 5, 5, 1.25, 1]


@pytest.mark.parametrize(("given", "first_s", "at_most_s"), [("", 0.5, 10), ("60", 0.5, 60), ("0.1", 0.1, 0.1)])
def test_the_longest_interval_is_the_site_s_to_set(given, first_s, at_most_s, monkeypatch):
    monkeypatch.setenv(INTERVAL_VARIABLE, given)
    pace = pace_of_environment()
    assert (pace.first_s, pace.at_most_s) == (first_s, at_most_s)


@pytest.mark.parametrize("given", ["often", "0", "-1", "inf", "nan"])
def test_an_interval_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv(INTERVAL_VARIABLE, given)
    with pytest.raises(ArgumentValueError, match=f"{INTERVAL_VARIABLE}='{given}'"):
        pace_of_environment()
