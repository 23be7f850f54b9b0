"""The documents that a page server answers with. Whatever comes from records, schema or address is text in them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from smartml.monitor.pages.layout import Axes, Layout
from smartml.monitor.pages.schema import PlotSchema

STATIC = Path(__file__).parent / "static"
# In the order in which they must be run.
SCRIPTS = ("uplot/uPlot.js", "texts.js", "plot.js", "page.js")
STYLES = ("uplot/uPlot.css", "page.css")
# Scopes, and names of each, on the page of contents.
_MOST_LISTED = 200


def live_page(title: str, config: Mapping[str, Any]) -> str:
    """Return the document of a page, which then asks for its data."""
    head = [f'<link rel="stylesheet" href="/static/{name}">' for name in STYLES]
    return _document(title, head, [_data(config), *(f'<script src="/static/{name}"></script>' for name in SCRIPTS)])


def saved_page(title: str, config: Mapping[str, Any]) -> str:
    """Return a document that needs nothing but itself."""
    head = [f"<style>{(STATIC / name).read_text(encoding='utf-8')}</style>" for name in STYLES]
    scripts = [f"<script>{(STATIC / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS]
    return _document(title, head, [_data(config), *scripts])


def page_config(layout: Layout, schemas: Mapping[str, PlotSchema], title: str) -> dict[str, Any]:
    """Return what the script of a page must know of its layout."""
    boxes = []
    for box in layout.boxes:
        plots = [
            {
                "name": place.plot,
                "share": place.share,
                "log": [place.axes.is_log_x, place.axes.is_log_y],
                "glyph": schemas[place.plot].glyph.value,
                "options": schemas[place.plot].glyph_options,
                "figure": schemas[place.plot].figure,
            }
            for place in box.places
        ]
        boxes.append({"share": box.share, "plots": plots})
    return {"title": title, "columns": layout.by_columns, "boxes": boxes}


def index_page(plots: Iterable[str], names: Mapping[str, Mapping[str, int]], problem: str | None) -> str:
    """Return the page of contents: links to all plots, what was logged, and a form that makes addresses."""
    plots = list(plots)
    banner = f'<p class="banner">{escape(problem)}</p>' if problem else ""
    links = "".join(f'<li><a href="{escape(_address(plot))}">{escape(plot)}</a></li>' for plot in plots)
    everything = escape("/?" + urlencode({"rows": ";".join(plots)}))
    body = f"""<main><h1>Live plots</h1>{banner}
<ul class="plots">{links}</ul>
<p><a href="{everything}">All plots, one below the other</a></p>
<h2>A page of several plots</h2>{_form(plots)}
<h2>What was logged</h2>{_listing(names)}</main>"""
    return _document("Live plots", ['<link rel="stylesheet" href="/static/page.css">'], [body])


def _address(plot: str) -> str:
    return "/?rows=" + quote(plot, safe="")


def _form(plots: Sequence[str]) -> str:
    example = escape(f"{','.join(plots[:2])}" + (f";{plots[2]}" if len(plots) > 2 else ""))
    axes = ", ".join(each.value for each in Axes)
    fields = (
        ("Plots", f'<input name="plots" required value="{example}">', "commas within a box, semicolons between boxes"),
        ("Scopes", '<input name="scopes" placeholder=".*">', "a regular expression"),
        ("Names", '<textarea name="names" rows="2"></textarea>', "one for each plot, a line each, or none at all"),
        ("Width", '<input name="width" placeholder="1,2,1">', "one number for each plot in rows, or for each column"),
        ("Height", '<input name="height" placeholder="1,2">', "one number for each row, or for each plot in columns"),
        ("Axes", '<input name="axes" placeholder="lin,ylog">', f"one of {axes} for each plot"),
    )
    modes = '<select name="mode"><option value="rows">rows</option><option value="cols">columns</option></select>'
    labels = "".join(f"<label>{name} {field}<small>{meaning}</small></label>" for name, field, meaning in fields)
    return f'<form action="/layout" class="layout"><label>Boxes {modes}</label>{labels}<button>Show</button></form>'


def _listing(names: Mapping[str, Mapping[str, int]]) -> str:
    if not names:
        return "<p>Nothing yet.</p>"
    rows = []
    for scope, counts in list(names.items())[:_MOST_LISTED]:
        for name, count in list(counts.items())[:_MOST_LISTED]:
            rows.append(f"<tr><td>{escape(scope)}</td><td>{escape(name)}</td><td>{count:,}</td></tr>")
    table = f"<table><tr><th>Scope</th><th>Name</th><th>Points</th></tr>{''.join(rows)}</table>"
    hidden = sum(map(len, names.values())) - len(rows)
    return table + (f"<p>and {hidden:,} names more.</p>" if hidden else "")


def layout_address(form: Mapping[str, Sequence[str]]) -> str:
    """Return the address of the page that the form of the page of contents describes."""

    def one(name: str) -> str:
        return form.get(name, ("",))[0].strip()

    query = [("cols" if one("mode") == "cols" else "rows", one("plots"))]
    query += [("names", line.strip()) for line in one("names").splitlines() if line.strip()]
    query += [(name, one(name)) for name in ("scopes", "width", "height", "axes") if one(name)]
    return "/?" + urlencode(query)


def refusal_page(status: int, message: str) -> str:
    """Return a page that says why there is no other."""
    way_on = '<p><a href="/">All plots, and a form for pages of several</a></p>'
    body = f"<main><h1>{status}</h1><p>{escape(message)}</p>{way_on}</main>"
    return _document(str(status), ['<link rel="stylesheet" href="/static/page.css">'], [body])


def _data(config: Mapping[str, Any]) -> str:
    """Return the configuration as an element that is no script: nothing in it can end it."""
    text = json.dumps(config).replace("<", "\\u003c")
    return f'<script type="application/json" id="config">{text}</script>'


def _document(title: str, head: Iterable[str], body: Iterable[str]) -> str:
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            # None: browsers ask for one otherwise.
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            *head,
            "</head><body>",
            *body,
            "</body></html>",
        ]
    )
