"""Metrics of a run in the records that live pages read."""

import importlib.util

import pytest

from smartml.training import train

if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("smartml.monitor") is None:
    pytest.skip("the package 'grpcio' is not installed, or smartml.monitor is not there", allow_module_level=True)


def test_what_a_run_measures_is_in_the_records(task):
    from smartml.monitor import RecordServer, open_records

    with RecordServer(task.folder / "records", port=0) as server:
        train(task.configuration(f"globals.monitor={{'uri': '{server.address}', 'scope': 'small run'}}"))
        blocks = open_records(server.address).query(None).added

    assert {block.scope for block in blocks} == {"small run"}
    iterations = {}
    for block in blocks:
        iterations.setdefault(block.name, []).extend(block.fields["iteration"].tolist())
    assert iterations["train"] == iterations["train/verdict/Outcome"] == list(range(1, 17))
    assert iterations["validation"] == iterations["validation/verdict/Outcome"] == [4, 8, 12, 16]
    [fields] = {tuple(block.fields) for block in blocks if block.name == "validation/verdict/Outcome"}
    assert set(fields) == {"iteration", "loss", "acc", "ap_macro", "mcc", "roc_auc_macro"}
