"""How producers name what they put: by key, or through an aggregation list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from smartml.errors import ArgumentTypeError, ArgumentValueError, FeedError
from smartml.store import Client, Dataset
from smartml.store.keys import KeyNames

KeyOrder = Literal["rank_iteration", "iteration_rank"]


@dataclass(frozen=True)
class KeyScheme:
    """Tensors under `<prefix>_<iteration>`, or `<prefix>_<rank>_<iteration>` where ranks put their own.

    The order `iteration_rank` is the one that SmartSim 0.4.0 wrote. Iterations count from 0 without gaps.
    """

    sample_prefix: str
    # None: samples without targets. The same as sample_prefix: samples are their own targets.
    target_prefix: str | None = None
    # Number of ranks that put tensors; None: no rank in the keys.
    ranks: int | None = None
    order: KeyOrder = "rank_iteration"

    def __post_init__(self) -> None:
        if not isinstance(self.sample_prefix, str) or not self.sample_prefix:
            raise ArgumentValueError(f"sample_prefix must be a name, not {self.sample_prefix!r}")
        if self.ranks is not None and (not isinstance(self.ranks, int) or self.ranks < 1):
            raise ArgumentValueError(f"uploader_ranks must be a positive number or None, not {self.ranks!r}")
        if self.order not in get_args(KeyOrder):
            raise ArgumentValueError(f"key_order must be one of {get_args(KeyOrder)}, not {self.order!r}")

    def key(self, entity: str, prefix: str, rank: int | None, iteration: int | str) -> bytes:
        """Return the key of one tensor; with "*" as iteration, what stands for the keys of all."""
        parts = (rank, iteration) if self.order == "rank_iteration" else (iteration, rank)
        name = "_".join([prefix, *(str(part) for part in parts if part is not None)])
        return (f"{entity}.{name}" if entity else name).encode()


class DataInfo:
    """What an aggregation list of training data holds: the names of its tensors and the number of classes.

    Producers publish it, trainers download it, so that the two need to agree on nothing but the list's name.
    """

    def __init__(
        self,
        list_name: str,
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
    ) -> None:
        for what, value in (("list_name", list_name), ("sample_name", sample_name)):
            if not isinstance(value, str):
                raise ArgumentTypeError(f"{what} must be str, not {type(value).__name__}: {value!r:.80}")
            if not value:
                raise ArgumentValueError(f"{what} must not be empty")
        self.list_name = list_name
        self.sample_name = sample_name
        self.target_name = target_name or None
        self.num_classes = num_classes

    @property
    def _dataset_name(self) -> str:
        return f"{self.list_name}_info"

    def list_key(self, producer: str) -> bytes:
        """Return the key of a producer's list."""
        return KeyNames(read_prefix=producer).list(self.list_name)

    def key(self, producer: str) -> bytes:
        """Return the key under which a producer publishes this."""
        return KeyNames(read_prefix=producer).dataset(self._dataset_name).metadata

    def publish(self, client: Client) -> None:
        """Put the information into the database, as the dataset `<list_name>_info`."""
        client.put_dataset(self.to_dataset())

    def to_dataset(self) -> Dataset:
        """Return the information as the dataset that is published."""
        dataset = Dataset(self._dataset_name)
        dataset.add_meta_string("sample_name", self.sample_name)
        if self.target_name:
            dataset.add_meta_string("target_name", self.target_name)
        if self.num_classes:
            dataset.add_meta_scalar("num_classes", self.num_classes)
        return dataset

    def is_published(self, client: Client) -> bool:
        """Tell whether there is something to download."""
        return client.dataset_exists(self._dataset_name)

    def download(self, client: Client) -> None:
        """Take over what was published under the list's name; a published "no target" counts.

        Raises DatasetNotFoundError when nothing was published.
        """
        self.take_over(client.get_dataset(self._dataset_name))

    def take_over(self, dataset: Dataset) -> None:
        """Take over what a published dataset says; a published "no target" counts."""
        fields = dataset.get_metadata_field_names()
        self.sample_name = dataset.get_meta_strings("sample_name")[0]
        self.target_name = dataset.get_meta_strings("target_name")[0] if "target_name" in fields else None
        self.num_classes = int(dataset.get_meta_scalars("num_classes")[0]) if "num_classes" in fields else None

    def __repr__(self) -> str:
        values: dict[str, Any] = {
            "Aggregation list name": self.list_name,
            "Sample tensor name": self.sample_name,
            "Target tensor name": self.target_name,
            "Number of classes": self.num_classes,
        }
        return "\n".join(["DataInfo object", *(f"{name}: {value}" for name, value in values.items() if value)])


def read_scheme(
    data_info_or_list_name: DataInfo | str | None,
    sample_prefix: str | None,
    target_prefix: str | None,
    uploader_ranks: int | None,
    key_order: KeyOrder,
) -> KeyScheme | DataInfo:
    """Return which of the two ways the arguments of a feed name; a list's name alone stands for the usual names."""
    if (data_info_or_list_name is None) == (sample_prefix is None):
        raise ArgumentValueError("name either a list of training data or a sample_prefix, not both and not none")
    if sample_prefix is not None:
        return KeyScheme(sample_prefix, target_prefix, uploader_ranks, key_order)
    if isinstance(data_info_or_list_name, DataInfo):
        return data_info_or_list_name
    if isinstance(data_info_or_list_name, str):
        return DataInfo(data_info_or_list_name)
    raise ArgumentTypeError(f"a list name or a DataInfo is needed, not {type(data_info_or_list_name).__name__}")


def stream_name(scheme: KeyScheme | DataInfo, producers: Sequence[str]) -> str:
    """Return a name for what these producers put under a scheme."""
    name = f"{scheme.sample_prefix}_*" if isinstance(scheme, KeyScheme) else scheme.list_name
    return ".".join(filter(None, (",".join(producers), name)))


def choose_producers(incoming: Sequence[str], producer_prefixes: str | Sequence[str] | None) -> tuple[str, ...]:
    """Select the incoming entities whose names begin with one of the prefixes; all of them without prefixes.

    No incoming entity at all means one nameless producer, whose keys bear no prefix.
    """
    wanted = (producer_prefixes,) if isinstance(producer_prefixes, str) else tuple(producer_prefixes or ())
    if not wanted:
        return tuple(incoming) or ("",)
    chosen = tuple(name for name in incoming if name.startswith(wanted))
    if not chosen:
        known = ", ".join(incoming) or "none (SSKEYIN is not set: register the producers with register_incoming_entity)"
        raise FeedError(f"no incoming entity begins with {' or '.join(map(repr, wanted))}; incoming are: {known}")
    return chosen


def download_info(info: DataInfo, client: Client, producers: Sequence[str]) -> bool:
    """Take over what the first producer that published anything has published; tell whether there was one."""
    for producer in producers:
        if producer:
            client.set_data_source(producer)
        # Asked first: a download in vain would search the database for similar names, again and again while waiting.
        if info.is_published(client):
            info.download(client)
            return True
    return False
