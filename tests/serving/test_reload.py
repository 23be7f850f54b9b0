"""Better checkpoints are taken into use while requests are answered."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import wait_until

from smartml.serving import Predictor
from smartml.serving.reload import CheckpointWatch

from .http import as_body, serving
from .models import make_predictor, make_sample
from .runs import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def watch(path):
    return CheckpointWatch(Predictor.load(path))


def test_a_better_checkpoint_is_found_once(run):
    watching = watch(run.save(10, 0.5))
    assert watching.look() is None

    better = run.save(20, 0.75)

    assert watching.look().name == better.name
    assert watching.look() is None


def test_worse_checkpoints_and_older_ones_are_left_alone(run):
    run.save(5, 0.9)
    watching = watch(run.save(10, 0.5))
    run.save(20, 0.25)
    assert watching.look() is None


def test_of_equals_the_later_one_is_better(run):
    watching = watch(run.save(10, 0.5))
    later = run.save(20, 0.5)
    assert watching.look().name == later.name


def test_a_checkpoint_that_replaces_the_one_in_use_is_found(run):
    first = run.save(10, 0.5, keep=1)
    watching = watch(first)
    second = run.save(20, 0.75, keep=1)
    assert not first.exists()
    assert watching.look().name == second.name


def test_the_only_checkpoint_may_go(run):
    first = run.save(10, 0.5)
    watching = watch(first)
    first.unlink()
    assert watching.look() is None


def test_a_half_written_checkpoint_is_left_alone_until_it_is_whole(run):
    watching = watch(run.save(10, 0.5))
    better = run.save(20, 0.75)
    whole = better.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        better.write_bytes(whole[:size])
        assert watching.look() is None
        assert watching.look() is None
    assert watching.failures == 5

    better.write_bytes(whole)
    assert watching.look().name == better.name


def test_a_checkpoint_of_another_model_is_left_alone(run, tmp_path):
    other = Run(tmp_path / "other", inputs=("field",), outputs=("later",))
    watching = watch(run.save(10, 0.5))
    run.folder.checkpoint(20, 0.75).write_bytes(other.save(20, 0.75).read_bytes())
    assert watching.look() is None and watching.failures == 1


def test_requests_go_on_while_checkpoints_change_and_each_has_one_of_them(tmp_path):
    """Each answer is wholly of the checkpoint that it names, and none is lost."""
    predictors = {}
    seeds = itertools.count(1)
    may_change = threading.Event()

    class Changing:
        """Finds another one whenever it looks."""

        failures = 0

        def look(self):
            if not may_change.is_set():
                return None
            seed = next(seeds)
            predictors[f"network {seed}"] = make_predictor(seed)
            return predictors[f"network {seed}"]

    predictors["network 0"] = first = make_predictor(0)
    samples = [make_sample(number) for number in range(3)]
    body = [as_body(sample) for sample in samples]
    with (
        serving(first, watch=Changing(), reload_interval_s=0.02) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        may_change.set()
        responses = list(threads.map(lambda _: client.post("/predict", json=body), range(300)))
        text = client.get("/metrics").text

    seen = set()
    for response in responses:
        assert response.status_code == 200
        name = response.headers["smartml-checkpoint"]
        seen.add(name)
        expected = predictors[name].predict(samples)
        for answer, own in zip(response.json()["result"], expected, strict=True):
            assert answer["verdict"]["speed"]["speed"] == pytest.approx(own["verdict"]["speed"]["speed"], rel=1e-4)
    assert len(seen) > 2
    assert "smartml_reloads_total 0.0" not in text


def test_a_server_takes_the_better_checkpoint_of_a_run(run):
    first = run.save(10, 0.5, seed=1, keep=1)
    predictor = Predictor.load(first)
    watching = CheckpointWatch(predictor)
    with serving(predictor, watch=watching, reload_interval_s=0.05) as client:
        before = client.post("/predict", json=client.get("/info").json()["example"])
        # Half of one first, as a trainer that cannot replace files would write it.
        second = run.folder.checkpoint(20, 0.75)
        second.write_bytes(first.read_bytes()[:500])
        wait_until(lambda: "smartml_failed_reloads_total 1.0" in client.get("/metrics").text)
        assert client.get("/info").json()["checkpoint"] == first.name

        run.save(30, 0.875, seed=2, keep=1)
        wait_until(lambda: client.get("/info").json()["checkpoint"] == run.folder.checkpoint(30, 0.875).name)
        after = client.post("/predict", json=client.get("/info").json()["example"])
    assert before.status_code == after.status_code == 200
    assert before.headers["smartml-checkpoint"] == first.name
    assert before.json() != after.json()
