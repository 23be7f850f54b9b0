"""The pages for people, in a browser."""

import numpy as np
import pytest
from browser import open_browser

from .http import serving
from .models import TorchModel, make_predictor

pytest.importorskip("selenium.webdriver", reason="the package 'selenium' is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

TOKEN = "0123456789abcdef"
EVIL = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser"), 400, 900) as made:
        yield made


@pytest.fixture(scope="module")
def client():
    with serving(make_predictor()) as made:
        yield made


def wait(browser):
    return WebDriverWait(browser, 20)


def find(browser, selector):
    return wait(browser).until(lambda it: it.find_element(By.CSS_SELECTOR, selector))


def fill(browser, numbers="1 2 3 4 5 6", note="a note"):
    """Give every input a value, as people do."""
    find(browser, "fieldset")
    texts = browser.find_elements(By.TAG_NAME, "textarea")
    for text, value in zip(texts, ["some bytes", note, numbers], strict=True):
        text.clear()
        text.send_keys(value)
    Select(find(browser, "select")).select_by_visible_text("red")
    height = find(browser, "input[type=number]")
    height.clear()
    height.send_keys("1.5")


def ask(browser):
    browser.execute_script("document.getElementById('reply').replaceChildren()")
    find(browser, "#question button").click()
    wait(browser).until(lambda it: it.find_element(By.ID, "reply").text)
    return find(browser, "#reply").text


def errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_person_fills_in_a_form_and_sees_the_answer(browser, client):
    browser.get(str(client.base_url))
    fill(browser)

    shown = ask(browser)

    assert "verdict" in shown and "good" in shown and "%" in shown and "speed:" in shown
    assert "2, row by row" in shown
    assert len(browser.find_elements(By.CSS_SELECTOR, "#reply pre")[0].text.split()) == 6
    assert find(browser, "#checkpoint").text == "network 0"
    assert errors(browser) == []


def test_a_file_takes_the_place_of_text(browser, client, tmp_path):
    file = tmp_path / "some file"
    file.write_bytes(bytes(range(256)))
    browser.get(str(client.base_url))
    fill(browser)
    find(browser, "input[type=file]").send_keys(str(file))
    assert "verdict" in ask(browser)


def test_wrong_input_is_named(browser, client):
    browser.get(str(client.base_url))
    fill(browser, numbers="1 2 3")
    assert ask(browser) == "field: 3 numbers are given, 6 are needed"
    fill(browser, numbers="1 2 3 4 5 x")
    assert ask(browser) == "field: not all of these are numbers"


def test_the_page_fits_a_telephone(browser, client):
    for path in ("/", "/docs"):
        browser.get(f"{client.base_url}{path}")
        find(browser, "fieldset, pre")
        width, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= inner


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_theme_of_its_reader(browser, client, theme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    browser.get(str(client.base_url))
    find(browser, "fieldset")
    color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, color[4:-1].split(","))) > 384) == (theme == "light")


def test_the_page_for_programs_shows_every_path(browser, client):
    browser.get(f"{client.base_url}/docs")
    find(browser, "h2")
    paths = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    assert paths == ["POST /predict", "GET /info", "GET /health", "GET /metrics"]
    assert "curl -X POST" in find(browser, "pre").text
    assert errors(browser) == []


class Answering(TorchModel):
    """Gives names of its own to classes."""

    def decode(self, outputs, samples):
        return [{"verdict": {"Outcome": {EVIL: 1.0, "good": 0.0}}, "later": np.zeros((3, 2), "f4")} for _ in samples]


def test_what_the_model_answers_is_shown_as_text(browser):
    with serving(make_predictor(model=Answering())) as client:
        browser.get(str(client.base_url))
        fill(browser, note=EVIL)
        shown = ask(browser)
        assert EVIL in shown
        assert browser.title == "smartml" and not browser.find_elements(By.CSS_SELECTOR, "#reply img")


def test_a_token_is_asked_for(browser):
    with serving(make_predictor(), token=TOKEN) as client:
        for path, selector in (("/", "fieldset"), ("/docs", "h2")):
            browser.get(f"{client.base_url}{path}")
            wait(browser).until(lambda it: it.find_element(By.ID, "token").is_displayed())
            assert not browser.find_elements(By.CSS_SELECTOR, selector)
            find(browser, "#token").send_keys(TOKEN)
            find(browser, "#access button").click()
            find(browser, selector)
            assert not find(browser, "#token").is_displayed()
