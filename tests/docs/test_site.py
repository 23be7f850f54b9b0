"""The site builds without a warning, is whole, takes nothing from other hosts, and can be read on a telephone.

All of it is in one file, so that one process builds the site once.
"""

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from browser import open_browser

import smartml.errors

from .pages import DOCS, ROOT

# Elements that browsers fetch something for, and where they say what; `a` is followed by people only.
FETCHED = {
    "audio": ["src"],
    "embed": ["src"],
    "iframe": ["src"],
    "image": ["href", "xlink:href"],
    "img": ["src", "srcset"],
    "input": ["src"],
    "link": ["href"],
    "object": ["data"],
    "script": ["src"],
    "source": ["src", "srcset"],
    "use": ["href", "xlink:href"],
    "video": ["src", "poster"],
}
# Links to other pages that browsers do not fetch by themselves.
NOT_FETCHED = {"author", "canonical", "help", "index", "license", "next", "prev", "search", "top", "up"}
FOREIGN = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)

FOUND = "return [...document.querySelectorAll('#search-results li a')].map(link => link.innerText)"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

# What reaches beyond the screen, but for what scrolls by itself.
TOO_WIDE = """
const width = document.documentElement.clientWidth;
return [...document.querySelectorAll('.content *')]
    .filter(it => it.getBoundingClientRect().right > width + 1 && !it.closest('table, pre, .highlight'))
    .map(it => it.tagName + ': ' + it.textContent.slice(0, 60))
    .concat(document.documentElement.scrollWidth > width ? ['the page itself'] : [])
"""


class Page(HTMLParser):
    """What a page has for its readers to follow, for browsers to fetch, and to be pointed at."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.links, self.fetched, self.anchors, self.styles, self.headings = [], [], set(), "", []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._inside = tag
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        self.styles += given.get("style") or ""
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and set((given.get("rel") or "").split()) <= NOT_FETCHED:
            return
        self.fetched += [given[key] for key in FETCHED.get(tag, []) if given.get(key)]

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "style":
            self.styles += data
        if self._inside == "h1":
            self.headings.append(data)


def build(folder):
    """Build the site as `make docs` does; return the process, which has ended."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-d", folder / "doctrees"]
    return subprocess.run([*command, DOCS, folder / "html"], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The process that built the site, and the folder of the site."""
    for package in ("sphinx", "furo", "myst_parser", "griffe", "sphinx_copybutton"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    return done, folder / "html"


@pytest.fixture(scope="module")
def site(built):
    """The folder of the site."""
    return built[1]


@pytest.fixture(scope="module")
def html(site):
    """All pages of the site: path to page."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser as wide as a telephone."""
    with open_browser(tmp_path_factory.mktemp("browser"), 400, 900) as made:
        made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        yield made


def test_site_builds_without_a_warning(built):
    done, _ = built
    assert (done.returncode, done.stderr) == (0, "")


def test_links_lead_to_pages_and_anchors_that_are_there(html, site):
    broken = []
    for path, page in html.items():
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or site not in target.parents:
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in html and unquote(parts.fragment) not in html[target].anchors:
                broken.append(f"{path.relative_to(site)}: {link} (no such anchor)")
    assert len(html) > 30
    assert broken == []


def test_pages_fetch_nothing_from_other_hosts(html, site):
    foreign = [
        f"{path.relative_to(site)}: {address}"
        for path, page in html.items()
        for address in [*page.fetched, *re.findall(r"""url\(\s*['"]?([^'")]+)""", page.styles)]
        if FOREIGN.match(address)
    ]
    for sheet in site.rglob("*.css"):
        # Pictures that a sheet holds itself name the namespace of SVG, which nobody fetches.
        addresses = re.findall(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")]+)""", sheet.read_text())
        foreign += [f"{sheet.relative_to(site)}: {address}" for address in addresses if FOREIGN.match(address)]
    assert foreign == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<img srcset="HTTP://example/a.png 2x">',
        "<style>@font-face { src: url('https://fonts.example/a.woff') }</style>",
    ],
)
def test_what_comes_from_another_host_is_seen(tmp_path, text):
    (tmp_path / "page.html").write_text(text)
    page = Page(tmp_path / "page.html")
    assert any(FOREIGN.match(it) for it in page.fetched) or FOREIGN.search(re.findall(r"url\('(.*)'", page.styles)[0])


def public_names():
    """List every public name: of each module that lists its own, as people import them."""
    for path in sorted(ROOT.glob("smartml/**/*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        # `smartml --help` describes the command. What lies in a folder that is no package is not imported from here.
        is_ours = all((folder / "__init__.py").exists() for folder in path.parents if ROOT in folder.parents)
        if is_ours and not module.startswith("smartml.cli"):
            yield from (f"{module}.{name}" for name in listed_names(path))


def listed_names(path):
    """Read `__all__` from a source, for to import them all takes every package that there is."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and "__all__" in map(ast.unparse, statement.targets):
            return ast.literal_eval(statement.value)
    return []


def described(site):
    """List what the site describes, as it tells other sites."""
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: base + path)
    objects = getattr(inventory, "data", inventory)
    return {name for kind, names in objects.items() if kind.startswith("py:") for name in names}


def test_every_public_name_is_in_the_reference(site):
    names = set(public_names())
    assert {"smartml.Client", "smartml.feeds.torch.DataLoader", "smartml.pipeline.IterableSource"} <= names
    assert sorted(names - described(site)) == [], "a page of docs/reference lists them by ```{public-names} MODULE"


def test_every_error_is_in_the_reference(site):
    errors = {name for name, it in vars(smartml.errors).items() if isinstance(it, type) and not name.startswith("_")}
    assert {f"smartml.errors.{name}" for name in errors} - described(site) == set()


def test_members_are_described_by_their_docstrings_inherited_ones_too(site, html):
    text = re.sub(r"<[^>]+>", "", (site / "reference/feeds.html").read_text())
    assert "Trainers see the batch once all of it is there." in text
    assert "smartml.feeds.TrainingDataUploader.put_batch" in html[site / "reference/feeds.html"].anchors
    # From a class that is not public.
    assert "smartml.Client.put_tensor" in html[site / "reference/smartml.html"].anchors


def test_attributes_are_described_by_the_comments_above_them(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference/training.html").read_text())
    assert "None: nobody knows before the end." in text


def test_the_tree_of_errors_is_drawn_line_by_line(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference/errors.html").read_text())
    assert re.search(r"^SmartMLError\n\s*├── ArgumentTypeError", text, re.MULTILINE)


def test_values_are_those_of_python(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference/experiment.html").read_text())
    assert re.search(r"command_name\s*= ('|&#39;|&quot;|\")aprun", text)


def test_title_names_the_version(site):
    assert f"<title>smartml {smartml.__version__}</title>" in (site / "index.html").read_text()


def test_every_tutorial_has_its_page_with_its_picture(html, site):
    overview = html[site / "tutorials.html"]
    for folder in sorted((ROOT / "tutorials").glob("[0-9]*")):
        page = html[site / f"tutorials/{folder.name}/README.html"]
        title = folder.joinpath("README.md").read_text().splitlines()[0].removeprefix("# ")
        assert "".join(page.headings).startswith(title)
        assert any("_images/" in address for address in page.fetched), folder.name
        assert f"tutorials/{folder.name}/README.html" in overview.links


def test_names_in_code_lead_to_the_reference(html, site):
    assert "../reference/feeds.html#smartml.feeds.DataDownloader.stream" in html[site / "moving/squirrel.html"].links
    # Types in signatures, too.
    assert "#smartml.feeds.DataInfo" in html[site / "reference/feeds.html"].links


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


def test_search_finds_pages_without_a_server(site, browser, eventually):
    browser.get(f"{(site / 'search.html').as_uri()}?q=reservoir")

    # They appear one after the other, at times while they are looked at.
    eventually(lambda: "Learn from data that grows" in browser.execute_script(FOUND))
