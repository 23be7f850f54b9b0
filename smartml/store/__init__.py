"""Tensors and datasets in Redis."""

from smartml.store.address import TLS
from smartml.store.client import Client
from smartml.store.credentials import Credentials
from smartml.store.database import Database
from smartml.store.dataset import Dataset
from smartml.store.xarray import DatasetConverter

__all__ = ["TLS", "Client", "Credentials", "Database", "Dataset", "DatasetConverter"]
