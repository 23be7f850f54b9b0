"""Training sets that grow while producers run; `smartml.feeds.keras` and `smartml.feeds.torch` serve the frameworks."""

from smartml.feeds.batches import BatchInfo
from smartml.feeds.downloader import DataDownloader
from smartml.feeds.pending import UploaderStats
from smartml.feeds.priorities import Prioritised
from smartml.feeds.rate import RateLimit
from smartml.feeds.schemes import DataInfo
from smartml.feeds.stats import FeedStats
from smartml.feeds.uploader import TrainingDataUploader
from smartml.feeds.waiting import Waits

__all__ = [
    "BatchInfo",
    "DataDownloader",
    "DataInfo",
    "FeedStats",
    "Prioritised",
    "RateLimit",
    "TrainingDataUploader",
    "UploaderStats",
    "Waits",
]
