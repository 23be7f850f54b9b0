"""Training sets that grow while producers run; `smartml.feeds.keras` and `smartml.feeds.torch` serve the frameworks."""

from smartml.feeds.downloader import DataDownloader
from smartml.feeds.schemes import DataInfo
from smartml.feeds.uploader import TrainingDataUploader

__all__ = ["DataDownloader", "DataInfo", "TrainingDataUploader"]
