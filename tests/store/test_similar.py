"""Names that look like one nobody knows."""

from smartml.store.similar import nearest_names


def test_the_nearest_names_come_first():
    names = ["pressure_1", "points_3_18", "points_3_17", "temperature", "points_4_17"]

    assert nearest_names("points_3_177", names) == ["points_3_17", "points_4_17", "points_3_18"]


def test_a_slip_at_any_place_is_found():
    for slip in ("emperature", "temperatur", "temXperature", "tepmerature", "Temperature"):
        assert nearest_names(slip, ["velocity", "temperature"])[0] == "temperature"


def test_what_is_quite_another_name_is_left_out():
    assert nearest_names("velocity", ["a", "b", "temperature"]) == []
    assert nearest_names("velocity", []) == []


def test_a_name_is_listed_once():
    assert nearest_names("a1", ["a2", "a2"]) == ["a2"]
