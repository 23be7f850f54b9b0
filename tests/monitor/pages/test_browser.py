"""Pages as people see them: a headless Chromium, real records, and the colours of pixels."""

import base64
import io

import numpy as np
import pytest
from browser import open_browser
from servers import wait_until

pytest.importorskip("selenium", reason="the package 'selenium' is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from smartml.monitor import DataLogger

SCHEMA = """
DEFAULTS:
  color: {key_fun: s}
loss: {name_pattern: loss, glyph_kwargs: {line_color: "#ff0000", line_width: 4}}
wide: {name_pattern: wide, glyph_kwargs: {line_color: "#ff0000"}}
cloud:
  glyph_kind: scatter
  name_pattern: cloud
  columns: [x, y, t]
  filter_opts: {column: t}
  glyph_kwargs: {color: "#ff0000", size: 12}
field: {glyph_kind: field, name_pattern: field, color: {palette: RdBu3}}
"""
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser"), 900, 600) as made:
        yield made


@pytest.fixture
def window(browser, serve):
    """The browser, whose console must be empty in the end but for what a test expects, while the pages are served."""
    browser.expected = ()
    browser.get_log("browser")
    yield browser
    told = [entry["message"] for entry in browser.get_log("browser")]
    # No connection outlives the test's servers.
    browser.get("about:blank")
    assert [text for text in told if not any(words in text for words in browser.expected)] == []


@pytest.fixture
def pages(server, serve):
    return serve(server.address, SCHEMA)


TURN_THE_WHEEL = """
const options = { deltaY: -1, clientX: arguments[1], clientY: 200, bubbles: true, cancelable: true };
arguments[0].dispatchEvent(new WheelEvent("wheel", options));
"""


def drawn(window, total, plot=0):
    """Wait until a plot has drawn so many points, also on the screen."""
    script = "return document.querySelectorAll('figure')[arguments[0]].dataset.total"
    wait_until(lambda: window.execute_script(script, plot) == str(total))


def pixels(window):
    """The canvas of the first plot: (height, width, 3), uint8."""
    image = pytest.importorskip("PIL.Image", reason="the package 'pillow' is not installed")
    script = "return document.querySelector('figure canvas').toDataURL('image/png')"
    content = base64.b64decode(window.execute_script(script).partition(",")[2])
    picture = np.asarray(image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    alpha = picture[..., 3:] / 255
    # As over a white page.
    return (picture[..., :3] * alpha + 255 * (1 - alpha)).round().astype("uint8")


def count(picture, color):
    return int((picture == color).all(axis=-1).sum())


def texts(window, selector):
    return [element.text for element in window.find_elements(By.CSS_SELECTOR, selector)]


def view(window, plot=0):
    """What the axes show: x and y."""
    script = "const v = page.plots[arguments[0]].view; return [v.x, v.y]"
    return window.execute_script(script, plot)


def test_points_that_are_logged_are_pixels(window, pages, log):
    window.get(pages.address + "/?rows=loss")
    drawn(window, 0)
    assert count(pixels(window), RED) == 0

    log.write("loss", x=[0, 1], y=[0.0, 1.0])
    drawn(window, 2)

    picture = pixels(window)
    red = np.argwhere((picture == RED).all(axis=-1))
    assert len(red) > 500
    # It climbs from the lower left to the upper right.
    left, right = red[red[:, 1].argmin()], red[red[:, 1].argmax()]
    assert left[0] > right[0] + 200 and right[1] > left[1] + 600
    assert texts(window, ".entry") == ["run"]
    assert texts(window, ".status") == ["2 of 2 points"]


def test_a_scope_that_is_markup_is_text(window, server, pages):
    evil = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
    with DataLogger(evil, grpc_uri=server.address, flush_every=0.02) as logger:
        logger.write("loss", x=[1, 2], y=[1.0, 2.0])
        window.get(pages.address + "/?rows=loss")
        drawn(window, 2)

    assert texts(window, ".entry") == [evil]
    window.get(pages.address + "/")
    assert texts(window, "td")[0] == evil
    assert window.title == "Live plots"


def test_a_record_server_that_is_killed_and_restarted_heals_the_page(window, server_process, serve):
    pages = serve(server_process.address, SCHEMA)
    with DataLogger("run", grpc_uri=server_process.address, flush_every=0.02) as log:
        log.write("loss", x=1, y=1.0)
        window.get(pages.address + "/?rows=loss")
        drawn(window, 1)
        assert not window.find_element(By.CSS_SELECTOR, ".banner").is_displayed()

        server_process.end()
        wait_until(lambda: server_process.address in texts(window, ".banner")[0])

        server_process.start()
        log.write("loss", x=2, y=2.0)
        drawn(window, 2)
        assert not window.find_element(By.CSS_SELECTOR, ".banner").is_displayed()


def test_a_page_server_that_is_restarted_heals_the_page(window, server, log, serve):
    pages = serve(server.address, SCHEMA)
    log.write("loss", x=1, y=1.0)
    window.get(pages.address + "/?rows=loss")
    drawn(window, 1)
    window.expected = ("ERR_CONNECTION_REFUSED",)

    pages.stop()
    wait_until(lambda: "page server" in texts(window, ".banner")[0])
    log.write("loss", x=2, y=2.0)
    serve(server.address, SCHEMA, port=int(pages.address.rpartition(":")[2]))

    drawn(window, 2)
    assert not window.find_element(By.CSS_SELECTOR, ".banner").is_displayed()


def test_one_spike_among_a_million_points_is_seen_at_every_zoom(window, pages, log):
    y = np.zeros(1_000_000, "float32")
    y[654_321] = 1
    log.write("wide", x=np.arange(len(y)), y=y)
    window.get(pages.address + "/?rows=wide")
    drawn(window, len(y))

    over = window.find_element(By.CSS_SELECTOR, ".u-over")
    for _ in range(8):
        # Where it is, the line reaches almost to the top.
        picture = pixels(window)[60:100].astype(int)
        columns = np.flatnonzero((picture[..., 0] - picture[..., 1:].max(axis=-1) > 60).any(axis=0))
        assert 1 <= len(columns) <= 8
        at = columns.mean() - over.location["x"] + window.find_element(By.CSS_SELECTOR, ".canvas").location["x"]
        width = np.ptp(view(window)[0])
        for _ in range(4):
            window.execute_script(TURN_THE_WHEEL, over, over.location["x"] + at)
        settled(window)
        assert np.ptp(view(window)[0]) < width / 2
    left, right = view(window)[0]
    assert left < 654_321 < right
    assert right - left < 1000


def settled(window):
    """Wait until the picture belongs to the view."""
    script = (
        "const p = page.plots[0]; "
        "return !page.asked.size && (!p.chosen.x || JSON.stringify(p.chosen.x) == JSON.stringify(p.picture.x))"
    )
    wait_until(lambda: window.execute_script(script))


def test_dragging_zooms_shift_moves_and_a_double_click_shows_all(window, pages, log):
    log.write("loss", x=np.arange(101), y=np.arange(101.0))
    window.get(pages.address + "/?rows=loss")
    drawn(window, 101)
    (left, right), (bottom, top) = view(window)
    over = window.find_element(By.CSS_SELECTOR, ".u-over")

    ActionChains(window).move_to_element_with_offset(over, -100, -50).click_and_hold().move_by_offset(
        150, 120
    ).release().perform()
    settled(window)
    zoomed = view(window)
    assert left < zoomed[0][0] < zoomed[0][1] < right
    assert bottom < zoomed[1][0] < zoomed[1][1] < top

    ActionChains(window).key_down("\ue008").move_to_element(over).click_and_hold().move_by_offset(
        60, 0
    ).release().key_up("\ue008").perform()
    settled(window)
    moved = view(window)
    # What was under the pointer goes with it.
    assert moved[0][0] < zoomed[0][0]
    assert moved[0][1] - moved[0][0] == pytest.approx(zoomed[0][1] - zoomed[0][0])

    # The view stays where the user put it, also when points come.
    log.write("loss", x=200, y=5.0)
    drawn(window, 102)
    assert view(window) == moved

    ActionChains(window).double_click(over).perform()
    wait_until(lambda: view(window)[0] == [0, 200])


def test_a_legend_hides_what_it_names(window, pages, log):
    log.write("loss", x=[0, 1], y=[0.0, 1.0])
    window.get(pages.address + "/?rows=loss")
    drawn(window, 2)

    window.find_element(By.CSS_SELECTOR, ".entry").click()
    wait_until(lambda: count(pixels(window), RED) == 0)
    window.find_element(By.CSS_SELECTOR, ".entry").click()
    wait_until(lambda: count(pixels(window), RED) > 500)


def test_a_slider_chooses_points(window, pages, log):
    for t in range(3):
        log.write("cloud", x=[0, 1], y=[0.0, 1.0] if t else [0.5, 0.5], t=t)
    window.get(pages.address + "/?rows=cloud")
    drawn(window, 6)
    assert texts(window, ".slider span") == ["t = 2"]
    middle = pixels(window).shape[0] // 2
    before = count(pixels(window)[middle - 30 : middle + 30], RED)

    window.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys("\ue011")  # Home
    wait_until(lambda: texts(window, ".slider span") == ["t = 0"])

    assert before == 0
    assert count(pixels(window)[middle - 30 : middle + 30], RED) > 100


def test_a_slider_stays_where_it_is_when_the_page_server_is_restarted(window, server, log, serve):
    pages = serve(server.address, SCHEMA)
    for t in range(3):
        log.write("cloud", x=[0, 1], y=[0.0, 1.0], t=t)
    window.get(pages.address + "/?rows=cloud")
    drawn(window, 6)
    window.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys("\ue011\ue014")  # Home, right
    wait_until(lambda: texts(window, ".slider span") == ["t = 1"])
    window.expected = ("ERR_CONNECTION_REFUSED",)

    pages.stop()
    wait_until(lambda: "page server" in texts(window, ".banner")[0])
    log.write("cloud", x=[0, 1], y=[0.0, 1.0], t=3)
    log.flush()
    serve(server.address, SCHEMA, port=int(pages.address.rpartition(":")[2]))

    drawn(window, 8)
    assert texts(window, ".slider span") == ["t = 1"]


@pytest.mark.parametrize("turn", [-1, 1])
def test_no_wheel_turns_an_axis_out_of_the_numbers(window, pages, log, turn):
    log.write("loss", x=[1, 10, 100], y=[1.0, 0.1, 10.0])
    window.get(pages.address + "/?rows=loss&axes=xylog")
    drawn(window, 3)

    over = window.find_element(By.CSS_SELECTOR, ".u-over")
    script = TURN_THE_WHEEL.replace("-1", str(turn)).replace("bubbles", "shiftKey: true, bubbles")
    window.execute_script(f"for (let i = 0; i < 5000; i++) {{ {script} }}", over, over.location["x"] + 300)
    settled(window)

    assert all(0 < low < high < 1e301 for low, high in view(window))
    assert not window.find_element(By.CSS_SELECTOR, ".banner").is_displayed()
    ActionChains(window).double_click(over).perform()
    wait_until(lambda: view(window)[0] == [1, 100])


def test_a_field_is_a_map_of_heat(window, pages, log):
    values = np.zeros((4, 6))
    values[3, 0], values[0, 5] = 1, -1
    log.write("field", value=values)
    window.get(pages.address + "/?rows=field")
    drawn(window, 24)

    picture = pixels(window)
    from bokeh.palettes import RdBu3

    low, high = (tuple(int(color[at : at + 2], 16) for at in (1, 3, 5)) for color in (RdBu3[0], RdBu3[-1]))
    where = {name: np.argwhere((picture == color).all(axis=-1)) for name, color in (("low", low), ("high", high))}
    # Row 3 is at the top, column 0 at the left: a 24th of the whole each.
    assert where["high"].mean(axis=0)[0] < where["low"].mean(axis=0)[0]
    assert where["high"].mean(axis=0)[1] < where["low"].mean(axis=0)[1]
    assert len(where["high"]) == pytest.approx(len(where["low"]), rel=0.05)
    assert len(where["low"]) > 5000


def test_a_saved_page_shows_the_same_without_a_server(window, server, log, serve, tmp_path):
    pages = serve(server.address, SCHEMA)
    log.write("loss", x=[0, 1, 2], y=[0.0, 1.0, 0.5])
    window.get(pages.address + "/?rows=loss")
    drawn(window, 3)
    live = count(pixels(window), RED)

    saved = tmp_path / "saved page.html"
    saved.write_text(pages.get("/save?rows=loss")[2], encoding="utf-8")
    window.get("about:blank")
    pages.stop()
    window.get(saved.as_uri())
    drawn(window, 3)

    assert count(pixels(window), RED) == pytest.approx(live, rel=0.1)
    assert texts(window, ".entry") == ["run"]


def test_a_page_is_saved_as_a_picture(window, pages, log):
    log.write("loss", x=[0, 1], y=[0.0, 1.0])
    window.get(pages.address + "/?rows=loss,wide")
    drawn(window, 2)

    size = window.execute_script(
        "const c = page.picture(); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] == 255 && d[i + 1] == 0 && d[i + 2] == 0;"
        "return [c.width, c.height, n]"
    )

    assert size[0] == 900 and size[1] > 400 and size[2] > 300
    window.find_element(By.XPATH, "//button[text()='Save as PNG']").click()
    file = wait_until(lambda: next(window.downloads.glob("smartml*.png"), None))
    wait_until(lambda: file.read_bytes().startswith(b"\x89PNG"))


@pytest.mark.parametrize(
    ("address", "boxes"),
    [
        ("rows=loss,wide;cloud&width=1,2,1&height=1,2", [(0, 0, 1 / 3, 1 / 3), (1 / 3, 0, 1, 1 / 3), (0, 1 / 3, 1, 1)]),
        ("cols=loss,wide;cloud&width=2,1&height=1,2,1", [(0, 0, 2 / 3, 1 / 3), (0, 1 / 3, 2 / 3, 1), (2 / 3, 0, 1, 1)]),
    ],
)
def test_plots_have_their_shares_of_the_page(window, pages, address, boxes):
    window.get(pages.address + "/?" + address)
    for plot in range(3):
        drawn(window, 0, plot)

    found = window.execute_script(
        "const b = document.querySelector('.boxes').getBoundingClientRect();"
        "return [...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect()).map(r => "
        "[(r.left - b.left) / b.width, (r.top - b.top) / b.height, (r.right - b.left) / b.width, "
        "(r.bottom - b.top) / b.height])"
    )
    assert np.array(found) == pytest.approx(np.array(boxes), abs=0.002)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_plots_one_below_the_other_in_its_own_colours(window, pages, log, scheme):
    log.write("loss", x=[0, 1], y=[0.0, 1.0])
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    colours = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", colours)
    try:
        window.get(pages.address + "/?rows=loss,wide;cloud")
        drawn(window, 2)
        tops, widths, ground, scroll = window.execute_script(
            "const r = [...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect());"
            "return [r.map(b => b.top), r.map(b => b.width), getComputedStyle(document.body).backgroundColor,"
            "document.documentElement.scrollWidth]"
        )
    finally:
        window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert tops == sorted(set(tops))
    assert widths == [390] * 3
    assert scroll == 390
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_mistake_in_an_address_is_a_page_to_read(window, pages):
    window.expected = ("400 (Bad Request)",)

    window.get(pages.address + "/?rows=<b>nothing")

    assert texts(window, "h1") == ["400"]
    assert "rows names the plot '<b>nothing', which the schema has not" in texts(window, "p")[0]


def test_states_are_bars_in_their_colours(window, server, serve):
    schema = (
        "states: {glyph_kind: states, columns: [x, y], figure_kwargs: {x_axis_type: datetime},"
        ' glyph_kwargs: {labels: [waits, runs], colors: ["#00ff00", "#ff0000"]}}'
    )
    with DataLogger("run", grpc_uri=server.address) as log:
        log.write("first", x=[1.8e9, 1.8e9 + 25], y=[0, 1])
        log.write("second", x=[1.8e9, 1.8e9 + 50], y=[1, 1])
    window.get(serve(server.address, schema).address + "/?rows=states")
    drawn(window, 4)

    picture = pixels(window)
    waits, runs = count(picture, (0, 255, 0)), count(picture, RED)
    # Half of the first row, then the rest of it and the whole second one, with a little of what follows.
    assert waits > 1000
    assert 2 * waits < runs < 4 * waits

    over = window.find_element(By.CSS_SELECTOR, ".u-over")
    ActionChains(window).move_to_element_with_offset(over, -300, over.size["height"] // 4).perform()
    wait_until(lambda: texts(window, ".readout")[0].startswith("run-first-0: waits since 20"))
