"""What is asked over HTTP, and what is answered, right and wrong."""

import base64
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import wait_until

from smartml.serving import BatchLimits, ServerLimits

from .http import as_body, httpx, serving
from .models import SHAPE, TorchModel, make_predictor, make_sample


@pytest.fixture(scope="module")
def client():
    with serving(make_predictor()) as made:
        yield made


def test_samples_are_answered_in_their_order_as_the_predictor_answers_them(client):
    samples = [make_sample(number) for number in range(5)]

    response = client.post("/predict", json=[as_body(sample) for sample in samples])

    assert response.status_code == 200
    for answer, expected in zip(response.json()["result"], make_predictor().predict(samples), strict=True):
        later = np.frombuffer(base64.b64decode(answer["later"]), "<f4").reshape(SHAPE)
        np.testing.assert_allclose(later, expected["later"], rtol=1e-5)
        assert answer["verdict"]["Outcome"] == pytest.approx(expected["verdict"]["Outcome"])
        assert sum(answer["verdict"]["Outcome"].values()) == pytest.approx(1)
        assert answer["verdict"]["speed"] == pytest.approx(expected["verdict"]["speed"])


def test_info_tells_of_every_input_and_output(client):
    info = client.get("/info").json()

    assert info["inputs"] == {
        "raw": {"type": "bytes", "encoding": "base64", "max_length": 16},
        "note": {"type": "sequence", "max_length": 12},
        "facts": {
            "type": "tabular",
            "columns": {
                "color": {"type": "category", "values": ["blue", "green", "red"]},
                "height (m)": {"type": "number"},
            },
        },
        "field": {"type": "array", "encoding": "base64", "shape": [3, 2], "dtype": "<f4"},
    }
    assert set(info["outputs"]) == {"verdict", "later"}
    assert info["checkpoint"] == "network 0"


def test_the_example_of_the_info_is_answered(client):
    assert client.post("/predict", json=client.get("/info").json()["example"]).status_code == 200


def change(**fields):
    return json.dumps([as_body(make_sample()) | fields])


def without(name):
    sample = as_body(make_sample())
    del sample[name]
    return json.dumps([sample])


FACTS = {"color": "red", "height (m)": 1.0}
NUMBERS = base64.b64encode(np.zeros(6, np.float32).tobytes()).decode()

WRONG = {
    "nothing": ("", ["body"], "Invalid JSON"),
    "cut off": (change()[:-5], ["body"], "Invalid JSON"),
    "no UTF-8": (b"\xff\xfe", ["body"], "Invalid JSON"),
    "deep": ("[" * 100_000, ["body"], "recursion"),
    "no list": ("{}", ["body"], "valid array"),
    "null": ("null", ["body"], "valid array"),
    "an empty list": ("[]", ["body"], "at least 1"),
    "a number as sample": ("[1]", ["body", 0], "object"),
    "a missing input": (without("note"), ["body", 0, "note"], "required"),
    "an unknown input": (change(noise=1), ["body", 0, "noise"], "not permitted"),
    "no base64": (change(raw="***"), ["body", 0, "raw"], "is not base64"),
    "wrong padding": (change(raw="aGVsbG8"), ["body", 0, "raw"], "is not base64"),
    "a number as bytes": (change(raw=5), ["body", 0, "raw"], "valid string"),
    "a list as text": (change(note=["a"]), ["body", 0, "note"], "valid string"),
    "half a surrogate pair": (change().replace('"note 0"', '"\\ud800"'), ["body"], "Invalid JSON"),
    "too small an array": (change(field=NUMBERS[:16]), ["body", 0, "field"], "holds 12 bytes; an array [3, 2] of <f4"),
    "an unknown class": (change(facts=FACTS | {"color": "grean"}), ["body", 0, "facts", "color"], "green"),
    "text for a number": (change(facts=FACTS | {"height (m)": "1"}), ["body", 0, "facts", "height (m)"], "number"),
    "NaN": (change(facts=FACTS | {"height (m)": float("nan")}), ["body", 0, "facts", "height (m)"], "finite"),
    "a missing column": (change(facts={"color": "red"}), ["body", 0, "facts", "height (m)"], "required"),
    "an unknown column": (change(facts=FACTS | {"age": 1}), ["body", 0, "facts", "age"], "not permitted"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_body_is_refused_with_the_field_named(client, case):
    body, location, words = WRONG[case]

    response = client.post("/predict", content=body)

    assert response.status_code == 422
    problems = {tuple(problem["loc"]): problem["msg"] for problem in response.json()["detail"]}
    assert words in problems[tuple(location)]
    assert all(set(problem) == {"type", "loc", "msg"} for problem in response.json()["detail"])


def test_what_was_sent_is_not_sent_back(client):
    long = "secret" * 10_000
    response = client.post("/predict", json=[as_body(make_sample()) | {long: 1, "raw": long, "note": 5}])

    assert response.status_code == 422
    assert len(response.content) < 1000 and "note" in response.text


def test_of_many_wrong_fields_some_are_named(client):
    response = client.post("/predict", json=[{str(number): 1 for number in range(10_000)}] * 3)
    assert response.status_code == 422
    assert len(response.json()["detail"]) == 20


def test_what_the_model_cannot_take_is_refused_and_disturbs_nobody_else():
    # The description promises more classes than the model knows.
    model = TorchModel()
    with serving(make_predictor(model=model), ServerLimits(BatchLimits(max_wait_s=0.2))) as client:
        model.refused = "red"
        bodies = [[as_body(make_sample(number))] for number in range(9)]
        with ThreadPoolExecutor(9) as threads:
            responses = list(threads.map(lambda body: client.post("/predict", json=body), bodies))

    for number, response in enumerate(responses):
        if number % 3 == 2:
            assert response.status_code == 422
            assert response.json()["detail"][0]["loc"] == ["body", 0, "facts"]
        else:
            assert response.status_code == 200


def test_numbers_that_json_does_not_have_are_null(client):
    unknown = as_body(make_sample() | {"field": np.full(SHAPE, np.nan, np.float32)})
    response = client.post("/predict", json=[unknown])

    assert response.status_code == 200
    verdict = response.json()["result"][0]["verdict"]
    assert verdict == {"Outcome": {"bad": None, "good": None}, "speed": {"speed": None}}


class Failing(TorchModel):
    """Fails on one sample."""

    def forward(self, batch):
        if (batch[1][:, 3] == 13).any():
            raise RuntimeError("the network exploded")
        return super().forward(batch)


def test_a_model_that_fails_is_reported_to_who_asked_and_goes_on():
    bad = as_body(make_sample() | {"facts": {"color": "red", "height (m)": 13.0}})
    good = as_body(make_sample())
    with serving(make_predictor(model=Failing())) as client, ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda body: client.post("/predict", json=[body]), [bad, good] * 4))
        after = client.post("/predict", json=[good])

    assert [response.status_code for response in responses] == [500, 200] * 4
    assert responses[0].json() == {"detail": "network 0 failed: RuntimeError: the network exploded"}
    assert after.status_code == 200


# Limits


def test_a_body_that_is_too_large_is_refused_however_it_is_sent():
    limits = ServerLimits(max_body_size=10_000, max_bodies_size=20_000)
    with serving(make_predictor(), limits) as client:
        announced = client.post("/predict", content=b" " * 10_001)
        in_pieces = client.post("/predict", content=(b" " * 1000 for _ in range(2000)))
        assert client.post("/predict", json=[as_body(make_sample())]).status_code == 200

    assert announced.status_code == in_pieces.status_code == 413
    assert announced.json() == in_pieces.json() == {"detail": "a body may have 10000 bytes at most"}


def test_more_samples_than_allowed_are_refused():
    with serving(make_predictor(), ServerLimits(max_samples=3)) as client:
        response = client.post("/predict", json=[as_body(make_sample())] * 4)
    assert response.status_code == 422 and "at most 3" in response.json()["detail"][0]["msg"]


class Held(TorchModel):
    """Goes on when it is let to."""

    def __init__(self):
        super().__init__()
        self.may_go_on = threading.Event()
        self.began = threading.Event()

    def forward(self, batch):
        self.began.set()
        assert self.may_go_on.wait(20)
        return super().forward(batch)


def test_a_full_queue_is_told_with_the_time_to_come_again():
    model = Held()
    body = [as_body(make_sample())]
    with (
        serving(make_predictor(model=model), ServerLimits(BatchLimits(max_queued=2))) as client,
        ThreadPoolExecutor(3) as threads,
    ):
        accepted = [threads.submit(client.post, "/predict", json=body)]
        assert model.began.wait(20)
        accepted += [threads.submit(client.post, "/predict", json=body) for _ in range(2)]
        wait_until(lambda: "smartml_queued_samples 2.0" in client.get("/metrics").text)

        refused = client.post("/predict", json=body)
        healthy = client.get("/health")
        model.may_go_on.set()

        assert [one.result().status_code for one in accepted] == [200, 200, 200]
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert refused.json()["detail"] == "2 samples wait, and there is room for 2: ask again later"
    assert healthy.status_code == 200


def test_bodies_that_wait_take_a_bounded_part_of_memory():
    model = Held()
    limits = ServerLimits(max_body_size=10_000, max_bodies_size=15_000)
    body = json.dumps([as_body(make_sample())] * 60).encode()
    assert 7_500 < len(body) < 10_000
    with serving(make_predictor(model=model), limits) as client, ThreadPoolExecutor(1) as threads:
        accepted = threads.submit(client.post, "/predict", content=body)
        assert model.began.wait(20)
        refused = client.post("/predict", content=body)
        model.may_go_on.set()
        assert accepted.result().status_code == 200
        assert client.post("/predict", content=body).status_code == 200
    assert refused.status_code == 503 and "retry-after" in refused.headers


def test_a_body_that_does_not_come_is_given_up():
    with serving(make_predictor(), ServerLimits(body_timeout_s=0.2)) as client:
        answer = speak(client, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
    assert answer.startswith(b"HTTP/1.1 408") and b"connection: close" in answer.lower()


# Connections


def speak(client, data, *, then_close=False):
    """Send bytes over a connection of their own; return all that comes back."""
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port), 20) as connection:
        connection.sendall(data)
        if then_close:
            return b""
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


GARBAGE = [
    b"\x00\xff\x16\x03\x01" * 50,
    b"GET\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("data", GARBAGE)
def test_bytes_that_are_no_http_are_refused(client, data):
    assert speak(client, data).startswith(b"HTTP/1.1 400")
    assert client.get("/health").status_code == 200


def test_who_leaves_in_the_middle_disturbs_nobody(client):
    body = json.dumps([as_body(make_sample())]).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for number in range(1, 60):
        speak(client, (head + body)[: number * len(head + body) // 59], then_close=True)

    assert client.post("/predict", content=body).status_code == 200
    wait_until(lambda: "smartml_queued_samples 0.0" in client.get("/metrics").text)


def test_answers_of_many_clients_at_once_are_their_own():
    model = TorchModel()
    samples = [make_sample(number) for number in range(200)]
    with (
        serving(make_predictor(model=model)) as client,
        ThreadPoolExecutor(32) as threads,
    ):
        url = f"{client.base_url}/predict"
        with httpx.Client(limits=httpx.Limits(max_connections=32), timeout=20, trust_env=False) as many:
            responses = list(threads.map(lambda sample: many.post(url, json=[as_body(sample)]), samples))
    expected = make_predictor().predict(samples)
    for response, answer in zip(responses, expected, strict=True):
        assert response.json()["result"][0]["verdict"]["speed"] == pytest.approx(answer["verdict"]["speed"], rel=1e-4)
    # What many ask at once is answered together.
    assert len(model.batches) < 150


# A token


TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def guarded():
    with serving(make_predictor(), token=TOKEN) as made:
        yield made


@pytest.mark.parametrize("path", ["/info", "/metrics", "/openapi.json", "/nothing"])
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
)
def test_nothing_is_told_without_the_token(guarded, path, headers):
    response = guarded.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_requests_are_answered_with_the_token_only(guarded):
    body = [as_body(make_sample())]
    assert guarded.post("/predict", json=body).status_code == 401
    assert guarded.post("/predict", json=body, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.post("/predict", json=body, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/static/page.js", "/static/docs.js", "/static/style.css"])
def test_pages_and_health_are_open_and_tell_nothing_of_the_model(guarded, path):
    response = guarded.get(path)
    assert response.status_code == 200
    assert "network" not in response.text and "Outcome" not in response.text


# The rest


def test_metrics_count_requests_samples_and_batches():
    with serving(make_predictor()) as client:
        client.post("/predict", json=[as_body(make_sample())] * 3)
        client.post("/predict", json=[])
        text = client.get("/metrics").text
    for line in (
        'smartml_requests_total{status="200"} 1.0',
        'smartml_requests_total{status="422"} 1.0',
        "smartml_samples_total 3.0",
        "smartml_batch_samples_sum 3.0",
        "smartml_queued_samples 0.0",
    ):
        assert line in text.splitlines()


def test_pages_load_nothing_from_elsewhere(client):
    for path in ("/", "/docs", "/static/page.js", "/static/docs.js", "/static/style.css"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        addresses = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in addresses and "https://" not in addresses


def test_the_openapi_description_names_every_input_and_answer(client):
    description = client.get("/openapi.json").json()
    sample = description["components"]["schemas"]["Sample"]

    assert set(sample["properties"]) == set(sample["required"]) == {"raw", "note", "facts", "field"}
    assert sample["properties"]["field"]["minLength"] == 32
    predict = description["paths"]["/predict"]["post"]
    assert set(predict["responses"]) == {"200", "408", "413", "422", "500", "503"}
    assert set(description["paths"]) == {"/predict", "/info", "/health", "/metrics"}
