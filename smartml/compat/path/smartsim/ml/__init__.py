"""Training sets that grow while producers run."""

from smartsim.ml.data import DataDownloader, DataInfo, TrainingDataUploader, form_name
from smartsim.ml.earlier import DynamicDataDownloader, StaticDataDownloader

__all__ = [
    "DataDownloader",
    "DataInfo",
    "DynamicDataDownloader",
    "StaticDataDownloader",
    "TrainingDataUploader",
    "form_name",
]
