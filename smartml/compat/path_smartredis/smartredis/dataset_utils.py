"""Datasets as xarray's DataArrays."""

from smartml.store import xarray as _ours
from smartredis.error import SMARTREDIS

__all__ = ["DatasetConverter"]


@SMARTREDIS.speaks
class DatasetConverter(_ours.DatasetConverter):
    __doc__ = _ours.DatasetConverter.__doc__
