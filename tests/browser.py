"""A Chromium without a window for tests of pages; needs the package selenium, chromium and chromedriver."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def open_browser(folder, width, height):
    """Give a browser that keeps what it has in a folder, and what it downloads in `downloads` there.

    The size of its window is in pixels, of which a telephone has fewer than the narrowest window.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="the package 'selenium' is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
        "no-first-run",
        "hide-scrollbars",
        f"window-size={width},{height}",
        f"user-data-dir={folder}",
    ):
        options.add_argument(f"--{word}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.downloads = folder / "downloads"
    try:
        yield browser
    finally:
        browser.quit()
