"""Ask a served model what files are, from a piece of each.

usage: python ask.py [--url http://127.0.0.1:8000] [--token-file FILE] PATH [PATH …]

Of a file that is long enough the first kilobyte is left out, as collect.py does; all pieces go in one request. Needs
nothing but Python: any program that speaks HTTP can ask like this.
"""

import argparse
import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

# As in collect.py: bytes of a piece, and those cut off from the beginning of a file.
PIECE, HEADER = 1024, 1024


def read_piece(path: Path) -> bytes:
    """Return a piece from behind the header; of a short file all there is."""
    with path.open("rb") as file:
        beginning = file.read(HEADER)
        return file.read(PIECE) or beginning


def ask(url: str, pieces: list[bytes], token: str | None = None) -> list[dict[str, float]]:
    """Return the probability of each kind, piece by piece."""
    body = json.dumps([{"piece": base64.b64encode(piece).decode()} for piece in pieces]).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{url}/predict", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return [answer["file"]["kind"] for answer in json.load(response)["result"]]


def main() -> None:
    """Ask, and print what is most likely of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token-file", type=Path, help="where the server wants a token")
    options = parser.parse_args()
    token = options.token_file.read_text().split()[0] if options.token_file else None
    pieces = [read_piece(path) for path in options.paths]
    try:
        answers = ask(options.url, pieces, token)
    except urllib.error.HTTPError as refusal:
        raise SystemExit(f"{options.url} says {refusal.code}: {refusal.read().decode()}") from refusal
    except OSError as error:
        raise SystemExit(f"cannot ask {options.url}: {error}") from error
    for path, kinds in zip(options.paths, answers, strict=True):
        likely = sorted(kinds.items(), key=lambda pair: -pair[1])[:3]
        print(f"{path.name:24} {', '.join(f'{kind} {100 * share:.1f} %' for kind, share in likely)}")


if __name__ == "__main__":
    main()
