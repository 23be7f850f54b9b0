"""Pieces of real files of this system, each with its kind: what the tutorial learns from.

usage: python collect.py FOLDER [--files N] [--seed N]

Kinds are programs and libraries (ELF), sources in Python, pictures (PNG), compressed files (gzip), and texts in as many
languages as programs here are translated to. A piece is a part from the middle of a file: its first kilobyte, where a
magic number would give most kinds away, is cut off. Files are held out whole, with all their pieces.
"""

import argparse
import csv
import gettext
import hashlib
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Bytes of a piece, those cut off from the beginning of a file, and pieces of a file at most.
PIECE, HEADER, PIECES = 1024, 1024, 16
HELD_OUT = 0.2
# Fewer files than this are no kind to learn.
FEWEST = 25
LANGUAGES = ("cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt_BR", "sv")


def read(path: Path) -> bytes:
    """Return what a file holds behind its header."""
    with path.open("rb") as file:
        file.seek(HEADER)
        return file.read(64 * PIECE)


def beginning_with(magic: bytes) -> Callable[[Path], bytes]:
    """Return a reader of files that really are what their names say."""

    def read_if_it_is(path: Path) -> bytes:
        with path.open("rb") as file:
            return read(path) if file.read(len(magic)) == magic else b""

    return read_if_it_is


def read_translations(path: Path) -> bytes:
    """Return the texts that a catalogue of GNU gettext translates to, in UTF-8."""
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog
    texts = [text for key, text in sorted(catalogue.items(), key=str) if key and isinstance(text, str)]
    return "\n".join(texts).encode()[HEADER:]


def found(*patterns: tuple[str | Path, str]) -> list[Path]:
    """List what is below folders; whether each is a file is found out when it is read."""
    return sorted({path for folder, pattern in patterns for path in Path(folder).glob(pattern)})


def kinds() -> dict[str, tuple[list[Path], Callable[[Path], bytes]]]:
    """Return the files of each kind, and how to read one."""
    packages, standard = sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")
    # Named folders, not whole trees: those would take minutes to walk through.
    programs = [("/usr/bin", "*"), ("/usr/lib", "*/*.so*"), (packages, "*/*.so"), (packages, "*/*/*.so")]
    pictures = [("/usr/share/icons", "*/*/*/*.png"), (packages, "*/mpl-data/images/*.png")]
    compressed = [("/usr/share/man", "man*/*.gz"), ("/usr/share/doc", "*/*.gz")]
    sources = [(standard, "*.py"), (standard, "[!s]*/*.py"), (packages, "*/*.py")]
    listed = {
        "elf": (found(*programs), beginning_with(b"\x7fELF")),
        "gzip": (found(*compressed), beginning_with(b"\x1f\x8b")),
        "png": (found(*pictures), beginning_with(b"\x89PNG")),
        "python": (found(*sources), read),
    }
    for language in LANGUAGES:
        catalogues = found(("/usr/share/locale", f"{language}/LC_MESSAGES/*.mo"))
        listed[f"text {language}"] = (catalogues, read_translations)
    return listed


def pieces_of(content: bytes, random_order: random.Random) -> list[bytes]:
    """Return some pieces of what a file holds, from anywhere in it."""
    places = range(0, len(content) - PIECE + 1, PIECE)
    return [content[place : place + PIECE] for place in random_order.sample(places, min(PIECES, len(places)))]


def collect(folder: Path, files: int, seed: int) -> dict[str, int]:
    """Write pieces, their labels and the ids of those held out to a new folder; return the pieces of each kind."""
    (folder / "pieces").mkdir(parents=True)
    rows, held_out = [], []
    for kind, (paths, reader) in kinds().items():
        chosen = random.Random(f"{seed} {kind}")
        chosen.shuffle(paths)
        own = list(distinct(paths, reader, chosen, files))
        if len(own) < FEWEST:
            print(f"{kind}: {len(own)} files here, left out", file=sys.stderr)
            continue
        for number, pieces in enumerate(own):
            for place, piece in enumerate(pieces):
                one = f"{kind.replace(' ', '-')}_{number}_{place}"
                (folder / "pieces" / f"{one}.bin").write_bytes(piece)
                rows.append((one, kind))
                if number < HELD_OUT * len(own):
                    held_out.append(one)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("ID", "kind"), *rows])
    (folder / "held_out.txt").write_text("\n".join(held_out) + "\n", encoding="utf-8")
    return dict(Counter(kind for _, kind in rows))


def distinct(
    paths: Iterable[Path], reader: Callable[[Path], bytes], chosen: random.Random, files: int
) -> Iterator[list[bytes]]:
    """Yield the pieces of so many files, none of which holds a piece of another."""
    seen: set[bytes] = set()
    for path in paths:
        if files == 0:
            return
        try:
            pieces = pieces_of(reader(path), chosen)
        except (OSError, UnicodeDecodeError):
            continue
        marks = {hashlib.sha256(piece).digest() for piece in pieces}
        if pieces and not marks & seen:
            seen |= marks
            files -= 1
            yield pieces


def main() -> None:
    """Collect, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--files", type=int, default=250, help="of each kind at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other files (%(default)s)")
    options = parser.parse_args()
    for kind, number in collect(options.folder, options.files, options.seed).items():
        print(f"{kind:12} {number:5} pieces")


if __name__ == "__main__":
    main()
