"""What browsers are answered: pages, refusals, and pictures as points come."""

import asyncio
import contextlib
import json
import re
import struct
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("tornado", reason="the package 'tornado' is not installed")

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from smartml.errors import ArgumentValueError, AssetsError, MonitorError
from smartml.monitor import DataLogger, open_records

SCHEMA = """
loss: {name_pattern: loss}
cloud: {glyph_kind: scatter, columns: [x, y, t], filter_opts: {column: t}, name_pattern: cloud}
"a plot & more": {}
"""
DEADLINE_S = 20


@pytest.fixture
def pages(server, serve):
    return serve(server.address, SCHEMA)


class Page:
    """An open page: says what it wants, and is told of everything."""

    def __init__(self, socket):
        self._socket = socket
        self.has_ended = False

    async def ask(self, **said):
        await self._socket.write_message(json.dumps(said))

    async def receive(self):
        """Return the next message: a picture with its traces as arrays, a dictionary, or None at the end."""
        message = await asyncio.wait_for(self._socket.read_message(), DEADLINE_S)
        self.has_ended = message is None
        if not isinstance(message, bytes):
            return message and json.loads(message)
        (length,) = struct.unpack_from("<I", message)
        picture = json.loads(message[4 : 4 + length])
        values = np.frombuffer(message, "<f4", offset=4 + length)
        for trace in picture.get("traces", ()):
            for axis in (0, 1):
                trace["xy"[axis]] = (values[: trace["count"]] + picture["origin"][axis]).tolist()
                values = values[trace["count"] :]
        return picture

    async def until(self, condition):
        """Return the first message of which the condition holds; pictures are acknowledged."""
        while True:
            message = await self.receive()
            if message and "plot" in message:
                await self.ask(drawn=message["plot"])
            if condition(message):
                return message

    @property
    def closing(self):
        return self._socket.close_code, self._socket.close_reason


@contextlib.asynccontextmanager
async def opened(pages, address, **headers):
    """A page at this address, as long as the block lasts."""
    socket = await websocket_connect(
        HTTPRequest(pages.address.replace("http", "ws") + "/live" + address, headers=headers)
    )
    page = Page(socket)
    try:
        yield page
    finally:
        socket.close()
        while not page.has_ended:
            await page.receive()


def visit(pages, address, story):
    """Open a page and play a story on it, which is a coroutine function."""

    async def play():
        async with opened(pages, address) as page:
            await asyncio.wait_for(story(page), DEADLINE_S)

    asyncio.run(play())


async def see_from_another_page(pages, count):
    """Wait until somebody who comes now sees so many points of losses."""
    async with opened(pages, "?rows=loss") as page:
        await page.ask(plot=0, width=400, height=300)
        await page.until(total(count))


def total(count):
    return lambda message: message is None or message.get("total") == count


def test_the_page_of_contents_has_a_link_for_each_plot_and_all_that_was_logged(pages, log):
    log.write("loss", x=1, y=2.0)
    log.flush()

    text = ""
    while "<td>loss</td><td>1</td>" not in text:
        status, headers, text = pages.get("/")
        assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    links = re.findall(r'<li><a href="([^"]+)">', text)
    assert links == ["/?rows=loss", "/?rows=cloud", "/?rows=a%20plot%20%26%20more"]
    for link in links:
        assert pages.get(link)[0] == 200


def test_the_form_leads_to_the_page_that_it_describes(pages):
    query = "mode=cols&plots=loss;cloud,loss&names=a%0D%0Ab%0D%0Ac&scopes=&width=2,1&height=&axes="

    status, _, text = pages.get("/layout?" + query)

    assert status == 200
    config = json.loads(re.search(r'id="config">(.*?)</script>', text).group(1))
    assert config["columns"]
    assert [[box["share"], [plot["name"] for plot in box["plots"]]] for box in config["boxes"]] == [
        [2 / 3, ["loss"]],
        [1 / 3, ["cloud", "loss"]],
    ]
    # One mistake in it, and one reads which.
    assert pages.get("/layout?mode=rows&plots=loss&width=x")[0] == 400


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/?", "Live plots"),
        ("/?width=1", "a page needs either rows or cols"),
        ("/?rows=loss&cols=loss", "both are given"),
        ("/?rows=", "rows has an empty item"),
        ("/?rows=loss,,cloud", "rows has an empty item"),
        ("/?rows=loss&rows=loss", "rows is given 2 times"),
        ("/?rows=nothing", "which the schema has not: it has &#x27;loss&#x27;, &#x27;cloud&#x27;"),
        ("/?rows=loss&width=1,2", "width has 2 numbers, and there must be 1"),
        ("/?rows=loss&height=-1", "each must be above 0"),
        ("/?rows=loss,cloud&names=x", "names is given 1 times, and there must be 2"),
        ("/?rows=loss&names=(", "which is no regular expression"),
        ("/?rows=loss&scopes=(", "which is no regular expression"),
        ("/?rows=loss&axes=lin,lin", "axes has 2 items, and there must be 1"),
        ("/?rows=loss&axes=log", "each is one of lin, xlog, ylog, xylog"),
        ("/?rows=loss&colour=red", "there is no parameter &#x27;colour&#x27;"),
        ("/save?rows=nothing", "which the schema has not"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_page_that_says_why(pages, address, words):
    status, headers, text = pages.get(address)

    assert status == (200 if address == "/?" else 400)
    assert headers["Content-Type"].startswith("text/html")
    assert words in text
    assert "Traceback" not in text


def test_nothing_from_address_schema_or_records_is_markup(server, log, serve):
    evil = "</script><script>alert(1)</script>"
    pages = serve(server.address, f'"{evil}": {{figure_kwargs: {{title: {{text: "{evil}"}}}}}}')
    log.write(evil, x=1, y=1)
    log.flush()

    for address in ("/", f"/?rows={quote(evil, safe='')}", f"/?rows={quote('<b>' + evil)}", f"/?{quote(evil)}=1"):
        _, headers, text = pages.get(address)
        assert "alert" in text
        assert "<script>alert" not in text
        assert "script-src 'self'" in headers["Content-Security-Policy"]
    _, _, saved = pages.get(f"/save?rows={quote(evil, safe='')}")
    assert "<script>alert" not in saved


def test_a_foreign_site_reaches_neither_pages_nor_pictures_by_a_name_of_its_own(pages, server, serve):
    status, _, text = pages.get("/", Host="evil.example:80")
    assert status == 403
    assert "--allow-origin evil.example" in text
    assert pages.get("/live?rows=loss", Host="evil.example")[0] == 403
    port = pages.address.rpartition(":")[2]
    for name in ("localhost", "127.0.0.1", f"localhost:{port}"):
        assert pages.get("/", Host=name)[0] == 200

    # Another site's page, which asks by our own name.
    async def come():
        async with opened(pages, "?rows=loss", Origin="http://evil.example"):
            pytest.fail("it was let in")

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(come())

    allowing = serve(server.address, SCHEMA, origins=["http://run.example:8888"])
    assert allowing.get("/", Host="run.example:8888")[0] == 200


def test_points_are_pushed_as_they_are_logged(pages, log):
    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        first = await page.until(lambda message: "plot" in message)
        assert (first["total"], first["traces"]) == (0, [])

        log.write("loss", x=[1, 2], y=[3.0, 4.0])
        second = await page.until(total(2))
        [trace] = second["traces"]
        assert (trace["label"], trace["x"], trace["y"]) == ("run-loss-0", [1, 2], pytest.approx([3, 4]))

        log.write("other", x=1, y=1)
        log.write("loss", x=3, y=5.0)
        third = await page.until(total(3))
        # The other name is none of this plot's: it has brought no picture.
        assert third["serial"] == second["serial"] + 1

    visit(pages, "?rows=loss", story)


def test_a_page_that_draws_slowly_gets_the_latest_and_no_backlog(pages, log):
    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        before = await page.receive()
        for number in range(20):
            log.write("loss", x=number, y=0.0)
            log.flush()
        await see_from_another_page(pages, 20)

        await page.ask(drawn=0)
        after = await page.until(total(20))
        assert after["serial"] <= before["serial"] + 2

    visit(pages, "?rows=loss", story)


def test_a_hidden_page_is_sent_nothing_until_it_is_seen(pages, log):
    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        before = await page.until(lambda message: "plot" in message)
        await page.ask(visible=False)
        for number in range(5):
            log.write("loss", x=number, y=0.0)
            log.flush()
        await see_from_another_page(pages, 5)

        await page.ask(visible=True)
        after = await page.until(lambda message: "plot" in message)
        assert (after["total"], after["serial"]) == (5, before["serial"] + 1)

    visit(pages, "?rows=loss", story)


def test_a_part_is_sent_with_the_points_that_belong_to_it(pages, log):
    log.write("loss", x=np.arange(300_000), y=np.sin(np.arange(300_000) / 1000))

    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        whole = await page.until(total(300_000))
        assert whole["shown"] <= 4 * 800 + 2
        await page.ask(plot=0, width=400, height=300, x=[1000, 1100])
        part = await page.until(lambda message: message.get("x") == [1000, 1100])
        assert part["traces"][0]["x"] == list(range(949, 1152))

    visit(pages, "?rows=loss", story)


def test_a_slider_is_moved_by_the_page(pages, log):
    for t in range(3):
        log.write("cloud", x=[t, t + 1], y=[0.0, 1.0], t=t)

    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        last = await page.until(total(6))
        assert last["slider"] == {"column": "t", "count": 3, "position": 2, "value": 2}
        await page.ask(plot=0, width=400, height=300, position=0)
        first = await page.until(lambda message: message["slider"]["position"] == 0)
        assert first["traces"][0]["x"] == [0, 1]

    visit(pages, "?rows=cloud", story)


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        "[1]",
        "[" * 10_000,
        '{"plot": 1, "width": 1, "height": 1}',
        '{"plot": "0", "width": 1, "height": 1}',
        '{"plot": 0}',
        '{"plot": 0, "width": 1e9, "height": 1}',
        '{"plot": 0, "width": NaN, "height": 1}',
        '{"plot": 0, "width": 1, "height": 1, "x": [1, 1]}',
        '{"plot": 0, "width": 1, "height": 1, "x": [0, Infinity]}',
        '{"plot": 0, "width": 1, "height": 1, "y": "all"}',
        '{"plot": 0, "width": 1, "height": 1, "y": [-1, 1]}',
        '{"plot": 0, "width": 1, "height": 1, "position": "last"}',
        '{"drawn": -1}',
    ],
)
def test_what_no_page_of_ours_says_ends_the_connection_and_nothing_else(pages, said):
    async def story(page):
        await page._socket.write_message(said)
        assert await page.until(lambda message: message is None) is None
        assert page.closing[0] == 1008

    visit(pages, "?rows=loss&axes=ylog", story)
    assert pages.get("/")[0] == 200


def test_a_killed_record_server_is_told_and_its_return_heals_the_page(server_process, serve):
    pages = serve(server_process.address, SCHEMA)
    log = DataLogger("run", grpc_uri=server_process.address, flush_every=0.02)
    log.write("loss", x=1, y=1.0)

    async def story(page):
        await page.ask(plot=0, width=400, height=300)
        await page.until(total(1))

        server_process.end()
        told = await page.until(lambda message: message.get("problem"))
        assert server_process.address in told["problem"]
        # What came before is still to be seen, also by who comes now.
        await see_from_another_page(pages, 1)

        server_process.start()
        log.write("loss", x=2, y=2.0)
        assert await page.until(lambda message: message == {"problem": None})
        picture = await page.until(total(2))
        assert picture["traces"][0]["x"] == [1, 2]

    visit(pages, "?rows=loss", story)
    log.close()


def test_a_changed_schema_has_pages_loaded_anew_and_a_wrong_one_is_told(server, serve, tmp_path):
    from smartml.monitor.pages import SchemaFile

    file = tmp_path / "schema.yaml"
    file.write_text("loss: {}")
    pages = serve(server.address, SchemaFile(file))

    async def story(page):
        file.write_text("loss: {glyph_kind: bars}")
        told = await page.until(lambda message: message.get("problem"))
        assert "plot 'loss', glyph_kind: is 'bars'" in told["problem"]
        file.write_text("other: {}")
        assert await page.until(lambda message: message is None) is None
        assert page.closing[0] == 4000

    visit(pages, "?rows=loss", story)
    assert pages.get("/?rows=loss")[0] == 400
    assert pages.get("/?rows=other")[0] == 200


def test_a_page_whose_plots_are_gone_is_told_to_load_anew(pages):
    async def story(page):
        assert await page.receive() is None
        assert page.closing[0] == 4000

    visit(pages, "?rows=nothing", story)


def test_a_saved_page_needs_no_server(pages, log):
    log.write("loss", x=[1, 2], y=[3.0, 4.0])
    log.flush()
    text = ""
    while "<td>loss</td>" not in text:
        text = pages.get("/")[2]

    status, headers, saved = pages.get("/save?rows=loss")

    assert status == 200
    assert headers["Content-Disposition"] == 'attachment; filename="smartml.html"'
    assert "uPlot" in saved
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", saved)


def test_a_taken_port_and_a_wrong_address_are_one_sentence(pages, server, serve):
    from smartml.monitor.pages import read_address

    port = int(pages.address.rpartition(":")[2])
    second = serve(server.address, SCHEMA, port=port)
    assert isinstance(second.error, MonitorError)
    assert str(second.error).startswith(f"pages cannot be served at 127.0.0.1:{port}: ")
    assert read_address("localhost:80") == ("localhost", 80)
    assert read_address("8888") == ("127.0.0.1", 8888)
    for wrong in ("", "host", "host:port", "host:99999"):
        with pytest.raises(ArgumentValueError, match="is not where pages can be served"):
            read_address(wrong)


def test_missing_scripts_are_one_sentence_that_says_what_to_run(server, tmp_path, monkeypatch):
    from smartml.monitor.pages import FixedSchema, PageServer, assets, load_schema

    assert not assets.are_there(tmp_path)
    (tmp_path / "other.tgz").write_bytes(b"not the archive")
    with pytest.raises(assets.FetchError, match=r"this is not the published archive of uplot@"):
        assets.fetch(tmp_path, tmp_path / "other.tgz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(assets.FetchError, match="npm, which is not on the PATH"):
        assets.fetch(tmp_path)

    kept = assets.FOLDER.rename(assets.FOLDER.with_name("away")) if assets.FOLDER.exists() else None
    try:
        with pytest.raises(AssetsError, match="run `smartml monitor assets`"):
            PageServer(open_records(server.address), FixedSchema(load_schema("a: {}")))
    finally:
        if kept is not None:
            kept.rename(assets.FOLDER)


def test_pages_that_others_can_reach_are_warned_of_and_open_by_number(server, serve, caplog):
    pages = serve(server.address, SCHEMA, host="0.0.0.0")

    assert "everybody who reaches 0.0.0.0 can read these pages" in caplog.text
    pages.address = pages.address.replace("0.0.0.0", "127.0.0.1")
    assert pages.get("/", Host="192.0.2.7:8888")[0] == 200
    assert pages.get("/", Host="evil.example")[0] == 403
