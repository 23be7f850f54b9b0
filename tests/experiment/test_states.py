"""The states of jobs."""

import json

import pytest

from smartml.experiment import Status
from smartml.experiment.states import combined


def test_states_are_smartsim_s_texts():
    assert Status.STATUS_COMPLETED == "Completed"
    assert f"{Status.STATUS_NEVER_STARTED}" == "NeverStarted"
    assert json.dumps([Status.STATUS_FAILED]) == '["Failed"]'


def test_ended_states_are_terminal():
    assert {state.value for state in Status if state.is_terminal} == {"Completed", "Failed", "Cancelled"}


@pytest.mark.parametrize(
    ("states", "together"),
    [
        ([], "NeverStarted"),
        (["Running", "Running"], "Running"),
        (["Running", "Paused"], "Paused"),
        (["Running", "Failed"], "Failed"),
        (["Running", "Completed"], "Failed"),
        (["Running", "Cancelled"], "Running"),
        (["Cancelled", "Cancelled"], "Cancelled"),
        (["Failed", "Cancelled"], "Failed"),
        (["Completed", "Completed"], "Completed"),
    ],
)
def test_several_jobs_have_failed_once_one_has_ended_while_others_go_on(states, together):
    assert combined(map(Status, states)) == together
