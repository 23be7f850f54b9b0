"""The public names of the room."""

from smartml import experiment


def test_public_names_are_sorted_and_there():
    assert experiment.__all__ == sorted(experiment.__all__)
    assert all(hasattr(experiment, name) for name in experiment.__all__)
