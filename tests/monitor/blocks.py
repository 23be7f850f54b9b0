"""Blocks as loggers send them."""

from smartml.monitor import columns
from smartml.monitor.records_pb2 import Block


def block(name, index=0, **fields):
    encoded = [columns.encode(columns.host_array(name, field, values)) for field, values in fields.items()]
    return Block(
        name=name,
        index=index,
        fields=fields,
        points=len(next(iter(fields.values()))),
        columns=[column for column, _ in encoded],
        data=b"".join(data for _, data in encoded),
    )


def points(update, field="x"):
    """Return the values of a field in all blocks, one after the other."""
    return [value for each in update.added for value in each.fields[field].tolist()]
