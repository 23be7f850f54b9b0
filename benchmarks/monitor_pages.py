"""How soon and how fluently live pages show what is logged, beside a plain page of Bokeh.

    python benchmarks/monitor_pages.py [--points 100000,10000000] [--repeats 40] [--frames 60]

A record server, a page server and a headless Chromium, each a process of its own, and a logger in this one:

- write to pixel: milliseconds from just before `write` until the page has the new point on its canvas, looked for in
  the pixels of the next frame of the screen. Shortest flush (10 ms) and refresh (0);
- first paint: from the beginning of the navigation until the line is on the canvas;
- zoom frame: from the gesture until the points that belong to the new part are on the canvas, the way to the server and
  back included; every frame another part, from everything to a ten-thousandth and back. `redraw` is what the browser
  needs for the picture that follows the gesture at once, with the points that it has;
- spikes: 50 single points stand out of the line. In every frame the columns of pixels where one should be seen are
  compared with those where one is.

Bokeh: the same points in a document of its own with everything inline, the canvas backend, `x_range` changed from
script and measured until the second next frame of the screen, which is 33 ms at least. Its ten million points are not
tried: the document would be larger than what browsers take.
"""

import argparse
import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from smartml.monitor import DataLogger

SPIKES = 50
MOST_OF_BOKEH = 100_000
# What is aimed at, in milliseconds.
AIM_PIXEL, AIM_FRAME = 150, 30
SCHEMA = """
live: {name_pattern: live, glyph_kwargs: {line_color: "#ff0000", line_width: 4}}
line: {name_pattern: line}
"""
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1200,800"
)
# Notes when a plot has first been drawn, from before anything else of the page runs.
FIRST_PAINT = """
(function look() {
  const plot = document.querySelector("figure[data-shown]");
  if (plot && Number(plot.dataset.shown) > 0) window.firstPaint = performance.now();
  else requestAnimationFrame(look);
})();
"""
# Notes when so many points were drawn, and red, by the clock that other programs have, too.
WATCH = """
window.seen = {};
const plot = document.querySelector("figure");
const canvas = plot.querySelector("canvas");
const look = () => {
  const total = plot.dataset.total;
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] === 255 && !data[i + 1] && !data[i + 2] && data[i + 3] === 255) {
      window.seen[total] ??= Date.now();
      return;
    }
  }
};
new MutationObserver(() => requestAnimationFrame(look)).observe(plot, { attributeFilter: ["data-total"] });
"""
ZOOM = """
const [parts, done] = arguments;
const plot = page.plots[0];
const frame = () => new Promise(requestAnimationFrame);
let belongs = () => false, note;
plot.chart.hooks.draw.push(() => belongs() && note(performance.now()));
(async () => {
  const times = [], redraws = [], spikes = [];
  for (const part of parts) {
    // Gestures come once per frame of the screen.
    await frame();
    const asked = plot.picture;
    belongs = () => plot.picture !== asked && plot.picture.x[0] === part[0] && plot.picture.x[1] === part[1];
    const drawn = new Promise((resolve) => (note = resolve));
    const start = performance.now();
    plot.choose(part, null);
    // What uPlot would do when this function ends.
    plot.chart.redraw(false, true);
    redraws.push(performance.now() - start);
    times.push((await drawn) - start);
    const trace = plot.picture.traces[0];
    const found = [];
    trace.y.forEach((y, i) => y + plot.picture.origin[1] > 50 && found.push(trace.x[i] + plot.picture.origin[0]));
    spikes.push(found);
  }
  done({ times, redraws, spikes, width: plot.chart.bbox.width, shown: plot.picture.shown });
})();
"""
BOKEH_READY = "return window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle ? performance.now() : 0"
BOKEH_ZOOM = """
const [parts, done] = arguments;
const range = Bokeh.documents[0].roots()[0].x_range;
const frame = () => new Promise(requestAnimationFrame);
(async () => {
  const times = [];
  await frame();
  for (const [start, end] of parts) {
    const before = performance.now();
    range.setv({ start, end });
    // Bokeh draws in the next frame; the one after it begins when that is done.
    await frame();
    await frame();
    times.push(performance.now() - before);
  }
  done({ times });
})();
"""


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[str]:
    """Run a command of smartml as long as the block lasts; give its first line."""
    process = subprocess.Popen([sys.executable, "-m", "smartml", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in (*OPTIONS.split(), f"--user-data-dir={folder}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(600)
    driver.set_page_load_timeout(600)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FIRST_PAINT})
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(driver: Any, script: str) -> Any:
    deadline = time.monotonic() + 300
    while not (value := driver.execute_script(script)):
        assert time.monotonic() < deadline, script
        time.sleep(0.01)
    return value


def line_with_spikes(points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and where the spikes are."""
    rng = np.random.default_rng(7)
    y = rng.normal(size=points).astype("float32")
    spikes = np.sort(rng.choice(points, SPIKES, replace=False))
    y[spikes] = 100
    return np.arange(points), y, spikes


def parts_of(points: int, frames: int) -> list[list[float]]:
    """Return parts from everything to a ten-thousandth and back, around a place off the middle."""
    depth = np.concatenate([np.linspace(0, 4, frames // 2), np.linspace(4, 0, frames - frames // 2)])
    sizes = points / 10**depth
    # Never the same part twice: the page would be ready before it is asked.
    shift = np.linspace(0, 0.01, frames)
    starts = (points - sizes) * (0.37 + shift)
    return [[float(start), float(start + size)] for start, size in zip(starts, sizes, strict=True)]


def columns(values: Sequence[float] | np.ndarray, part: Sequence[float], width: int) -> set[int]:
    inside = [value for value in values if part[0] <= value < part[1]]
    return {int((value - part[0]) / (part[1] - part[0]) * width) for value in inside}


def write_to_pixel(driver: Any, log: DataLogger, address: str, repeats: int) -> list[float]:
    driver.get(address + "?rows=live")
    log.write("live", x=[0, 1], y=[0.0, 1.0])
    wait_for(driver, "return document.querySelector('figure').dataset.total === '2'")
    driver.execute_script(WATCH)
    delays = []
    for number in range(repeats):
        # Not in step with the clocks of flush and screen.
        time.sleep(0.1 + 0.037 * (number % 5))
        before = time.time()
        log.write("live", x=number + 2, y=float(number % 2))
        seen = wait_for(driver, f"return window.seen['{number + 3}']")
        delays.append(seen - before * 1000)
    return delays


def pages(driver: Any, log: DataLogger, address: str, points: int, frames: int) -> dict[str, Any]:
    x, y, spikes = line_with_spikes(points)
    log.write("line", x=x, y=y)
    assert log.flush(timeout_s=300)
    total = f"return document.querySelector('figure')?.dataset.total === '{points}'"
    driver.get(address + "?rows=line")
    wait_for(driver, total)
    paints = []
    for _ in range(5):
        driver.get(address + "?rows=line")
        paints.append(wait_for(driver, "return window.firstPaint"))
    parts = parts_of(points, frames)
    found = driver.execute_async_script(ZOOM, parts)
    missed = 0
    for part, drawn in zip(parts, found["spikes"], strict=True):
        missed += len(columns(spikes, part, found["width"]) - columns(drawn, part, found["width"]))
    return {"paints": paints, **found, "missed": missed}


def bokeh_page(driver: Any, folder: Path, points: int, frames: int) -> dict[str, Any]:
    from bokeh.embed import file_html
    from bokeh.plotting import figure
    from bokeh.resources import INLINE

    x, y, _ = line_with_spikes(points)
    plot = figure(width=1100, height=650)
    plot.line(x, y)
    file = folder / "bokeh.html"
    file.write_text(file_html(plot, INLINE, "Bokeh"), encoding="utf-8")
    paints = []
    for _ in range(3):
        driver.get(file.as_uri())
        paints.append(wait_for(driver, BOKEH_READY))
    return {"paints": paints, **driver.execute_async_script(BOKEH_ZOOM, parts_of(points, frames))}


def shown(name: str, values: Sequence[float], aim: float | None = None) -> None:
    median, high = statistics.median(values), float(np.quantile(values, 0.95))
    told = f"  {name:34} {median:8.1f} {high:8.1f}"
    if aim is not None:
        told += f"   aim {aim:g}: {'reached' if median <= aim else 'MISSED'}"
    print(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", default="100000,10000000", help="points stored, one after the other (%(default)s)")
    parser.add_argument("--repeats", type=int, default=40, help="single points written (%(default)s)")
    parser.add_argument("--frames", type=int, default=60, help="zoom frames (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for all single values")
    options = parser.parse_args()
    values: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "schema.yaml").write_text(SCHEMA)
        told = stack.enter_context(program("monitor", "grpc-serve", str(folder / "records"), "0"))
        records = told.split()[-1]
        told = stack.enter_context(program("monitor", "web-serve", "0", records, str(folder / "schema.yaml"), "0"))
        address = told.split()[-1]
        driver = stack.enter_context(browser(folder / "profile"))
        print(f"{'milliseconds':36} {'median':>8} {'95 %':>8}")
        log = stack.enter_context(DataLogger("run", grpc_uri=records, flush_every=0.01))
        values["pixel"] = write_to_pixel(driver, log, address, options.repeats)
        shown("write to pixel", values["pixel"], AIM_PIXEL)
        for points in map(int, options.points.split(",")):
            # Its beginning deletes the points of the one before.
            with DataLogger("line", grpc_uri=records, flush_every=0.01) as line:
                found = values[f"{points} points"] = pages(driver, line, address, points, options.frames)
            print(
                f"{points:,} points stored, {found['shown']:,} sent at last, "
                f"{found['missed']} of the columns with a spike missed in {len(found['times'])} frames"
            )
            shown("first paint", found["paints"])
            shown("zoom frame", found["times"], AIM_FRAME)
            shown("redraw", found["redraws"])
            if points <= MOST_OF_BOKEH:
                found = values[f"{points} points by Bokeh"] = bokeh_page(driver, folder, points, options.frames)
                shown("Bokeh: first paint", found["paints"])
                shown("Bokeh: zoom frame", found["times"])
    if options.json:
        options.json.write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
