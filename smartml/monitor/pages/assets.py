"""uPlot, which draws axes and grids of live pages: where it lies, and how it comes there from its published package.

It is no part of the repository: the build fetches it, or `smartml monitor assets` later. `setup.py` runs this file by
its path, before smartml can be imported: it uses the standard library alone.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

PACKAGE = "uplot@1.6.32"
# Of the published archive, as the registry of npm tells it and the browsers' Subresource Integrity writes it.
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
# Files of the archive, by the names that they have here.
FILES = {
    "uPlot.js": "package/dist/uPlot.iife.min.js",
    "uPlot.css": "package/dist/uPlot.min.css",
    "uPlot-LICENSE.txt": "package/LICENSE",
}
FOLDER = Path(__file__).parent / "static" / "uplot"
_DEADLINE_S = 120


class FetchError(Exception):
    """The package cannot be fetched, or is another one than it should be; the message says what to do."""


def are_there(folder: Path = FOLDER) -> bool:
    """Tell whether all files lie in the folder."""
    return all((folder / name).is_file() for name in FILES)


def fetch(folder: Path = FOLDER, archive: Path | None = None) -> None:
    """Unpack uPlot into the folder: from this archive, or from the one that npm fetches."""
    try:
        unpack(archive.read_bytes() if archive else _download(), folder)
    except OSError as error:
        raise FetchError(f"{PACKAGE} cannot be put into {folder}: {error}") from error


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of a published archive into the folder, after its checksum was compared."""
    found = "sha512-" + b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise FetchError(f"this is not the published archive of {PACKAGE}: its checksum is {found}, not {INTEGRITY}")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as files:
        for name, member in FILES.items():
            source = files.extractfile(member)
            assert source is not None, "the checksum says that it is there"
            # Whoever reads at this moment finds the former file or the whole new one.
            draft = folder / f".{name}.{os.getpid()}"
            draft.write_bytes(source.read())
            os.replace(draft, folder / name)


def _download() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"{PACKAGE} is fetched by npm, which is not on the PATH: install it (`apt-get install npm`), or give the "
            "archive that `npm pack` makes elsewhere"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
        except subprocess.TimeoutExpired:
            raise FetchError(f"npm did not fetch {PACKAGE} within {_DEADLINE_S} s: is there a network?") from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise FetchError(f"npm cannot fetch {PACKAGE}: {done.stderr.strip() or 'it says nothing'}")
        return archives[0].read_bytes()
