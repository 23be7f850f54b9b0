"""Where records come from: one function for paths and addresses."""

import os

from smartml.monitor.access import Access, is_address
from smartml.monitor.client import RecordClient
from smartml.monitor.reader import RecordReader


def open_records(target: str | os.PathLike[str], access: Access | None = None) -> RecordReader | RecordClient:
    """Return the records of the store at a path or URL, or of the record server at host:port.

    What ends in a colon and a number is an address, unless there is a file or folder of that name.
    Raises RecordsFormatError when there is no store; a server is asked later.
    """
    if isinstance(target, str) and is_address(target):
        return RecordClient(target, access)
    return RecordReader(target)
