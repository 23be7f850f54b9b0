"""What the pages of the documentation say, as tests need it: their code, their files, their tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# "`producer.py`, the simulation:" and the code behind it.
FILE = re.compile(r"^`([\w.]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = re.compile(r"<!-- goes on from (\S+) -->")
EXPECTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def pages(folder):
    """List the pages of a folder of the documentation that have Python code."""
    return [path for path in sorted((DOCS / folder).glob("*.md")) if "```python\n" in path.read_text()]


def before(page):
    """Name the page whose program and files this one goes on from, or None."""
    found = BEFORE.search(page.read_text())
    return page.with_name(found[1]) if found else None


def files(page):
    """Map the files that a page shows to what is in them."""
    return dict(FILE.findall(page.read_text()))


def program(page):
    """Join the Python code of a page, but that of its files."""
    shown = files(page).values()
    return "\n".join(
        code for language, code in FENCE.findall(page.read_text()) if language == "python" and code not in shown
    )


def expected_lines(code):
    """List what comments behind `print` say, in their order."""
    return EXPECTED.findall(code)


def shell_lines(path):
    """List the commands `smartml ...` that a page shows, those that go on in the next line as one."""
    text = path.read_text()
    blocks = [code.replace("\\\n", " ") for language, code in FENCE.findall(text) if language == "sh"]
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    spans = re.findall(r"(?<!`)`(smartml [^`]+)`(?!`)", text)
    return [line for line in lines + spans if re.match(r"smartml\s+[a-z]", line)]


def table_rows(text, head=None):
    """List the rows of all tables, or of those with this head: the cells of each."""
    found = []
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        first, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.strip().splitlines()
        ]
        found += rows if head in (None, first) else []
    return found
