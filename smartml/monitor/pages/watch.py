"""The page of a running experiment, for which nothing has to be described."""

import os
from pathlib import Path

from smartml.errors import MonitorError, RecordsFormatError
from smartml.monitor.access import ADDRESS_VARIABLE, RECORDS_FOLDER, Access, is_address
from smartml.monitor.pages.schema import PlotSchema, load_schema
from smartml.monitor.records import Records
from smartml.monitor.sources import open_records

# Logarithmic, as losses fall.
WATCH_PAGE = "?rows=states;samples,losses;lag,memory;fields&height=2,3,2,3&axes=lin,lin,ylog,lin,lin,lin"


def watch_schema() -> dict[str, PlotSchema]:
    """Return how the page of an experiment is drawn."""
    return load_schema(Path(__file__).with_name("watch.yaml").read_text(encoding="utf-8"))


def find_records(experiment: str | os.PathLike[str] | None = None, access: Access | None = None) -> Records:
    """Return the records of an experiment: of its folder, of a store, of the record server at host:port.

    None takes the server that SMARTML_MONITOR names, else the folder where this program runs.
    Raises MonitorError when there are none.
    """
    target = os.fspath(experiment or os.environ.get(ADDRESS_VARIABLE) or "")
    if target and (is_address(target) or "://" in target):
        return open_records(target, access)
    folder = Path(target)
    if not folder.is_dir():
        raise MonitorError(f"there is no folder {folder}: name that of an experiment, or host:port of a record server")
    inner = folder / RECORDS_FOLDER
    try:
        return open_records(inner if inner.is_dir() else folder)
    except RecordsFormatError as error:
        raise MonitorError(
            f"there are no records of an experiment in {folder.resolve()}: start it with monitor=True, or name "
            "its folder"
        ) from error
