"""The OpenAPI description, by which a program asks all that it allows, and much that it does not."""

import warnings

import pytest

from smartml.serving import Predictor

from .http import serving
from .models import make_predictor
from .runs import INPUTS, OUTPUTS, Run

with warnings.catch_warnings():
    # Of packages that it imports.
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis", reason="the package 'schemathesis' is not installed")
    hypothesis = pytest.importorskip("hypothesis", reason="the package 'hypothesis' is not installed")

POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of training with every input and output that there is."""
    run = Run(tmp_path_factory.mktemp("run"), tuple(INPUTS), tuple(OUTPUTS))
    return Predictor.load(run.save(10, 0.5))


def ask(operation, mode, url, cases):
    """Ask for cases of an operation; return how often each status came."""
    seen = {}

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=cases, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def check(case):
        response = case.call(base_url=url)
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        # Also: that the status is described, and the answer of the type and schema that are described for it.
        case.validate_response(response)
        seen[response.status_code] = seen.get(response.status_code, 0) + 1

    check()
    return seen


# It warns of what its own dependencies will drop, and models of what is too large for them.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", ["small network", "trained model"])
def test_whatever_the_description_allows_or_forbids_is_answered_as_it_says(which, trained):
    predictor = make_predictor() if which == "small network" else trained
    with serving(predictor) as client:
        url = str(client.base_url)
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        operations = {it.ok().path: it.ok() for it in schema.get_all_operations()}
        assert set(operations) == {"/predict", "/info", "/health", "/metrics"}

        for path in ("/info", "/health", "/metrics"):
            assert set(ask(operations[path], POSITIVE, url, 3)) == {200}
        allowed = ask(operations["/predict"], POSITIVE, url, 40)
        forbidden = ask(operations["/predict"], NEGATIVE, url, 60)

    assert set(allowed) == {200} and allowed[200] > 20
    assert forbidden[422] > 20
