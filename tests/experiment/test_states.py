"""The states of jobs."""

import json

from smartml.experiment import Status


def test_states_are_smartsim_s_texts():
    assert Status.STATUS_COMPLETED == "Completed"
    assert f"{Status.STATUS_NEVER_STARTED}" == "NeverStarted"
    assert json.dumps([Status.STATUS_FAILED]) == '["Failed"]'


def test_ended_states_are_terminal():
    assert {state.value for state in Status if state.is_terminal} == {"Completed", "Failed", "Cancelled"}
