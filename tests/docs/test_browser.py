"""The site in a browser, as wide as a telephone: nothing runs out of the page, and what is looked for is found."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="the package 'selenium' is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

# What reaches beyond the screen, but for what scrolls by itself.
TOO_WIDE = """
const width = document.documentElement.clientWidth;
return [...document.querySelectorAll('.content *')]
    .filter(it => it.getBoundingClientRect().right > width + 1 && !it.closest('table, pre, .highlight'))
    .map(it => it.tagName + ': ' + it.textContent.slice(0, 60))
    .concat(document.documentElement.scrollWidth > width ? ['the page itself'] : [])
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"):
        options.add_argument(f"--{word}")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-component-update")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    yield made
    made.quit()


def test_no_page_is_wider_than_a_telephone(site, browser):
    too_wide = {}
    for path in sorted(site.rglob("*.html")):
        browser.get(path.as_uri())
        if found := browser.execute_script(TOO_WIDE):
            too_wide[path.relative_to(site).as_posix()] = found
    assert too_wide == {}
    assert browser.get_log("browser") == []


def test_what_is_too_wide_is_noticed(tmp_path, browser):
    head = '<meta name="viewport" content="width=device-width">'
    (tmp_path / "page.html").write_text(f'{head}<div class="content"><p style="width: 900px">wide</p></div>')
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.execute_script(TOO_WIDE) == ["P: wide", "the page itself"]


def test_search_finds_pages_without_a_server(site, browser):
    browser.get(f"{(site / 'search.html').as_uri()}?q=reservoir")

    found = WebDriverWait(browser, 20).until(lambda it: it.find_elements(By.CSS_SELECTOR, "#search-results li a"))

    assert "Learn from data that grows" in [link.text for link in found]
