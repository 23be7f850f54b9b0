"""Input files: where one input comes from, what it is, and the part of the model that reads it."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from smartml.training.sections import Section

# One path component and one part of a CSV column: it names folders of results.
NAME_PATTERN = r"^[^/\\\x00\r\n,]+$"


class TransformerBlocks(Section):
    """The stack of blocks of a transformer."""

    num_layers: PositiveInt = 2
    """Blocks."""
    num_heads: PositiveInt = 8
    """Heads of attention; the embedding is shared out evenly between them."""
    dim_feedforward: PositiveInt | Literal["auto"] = "auto"
    """Width of the feed-forward layer; auto: 4 times the embedding."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of attention and feed-forward layers."""


class TransformerSettings(Section):
    """A transformer over a sequence, whole or window by window."""

    model_type: Literal["sequence-default"] = "sequence-default"
    """The only one."""
    embedding_dim: PositiveInt = 64
    """Features of each place of the sequence."""
    position: Literal["embed", "encode"] = "encode"
    """encode: fixed sines and cosines; embed: a table that is learned."""
    position_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after positions are added."""
    window_size: NonNegativeInt = 0
    """Places in a window; attention stays within windows. 0: one window for all."""
    pool: Literal["avg", "max", "none"] | None = None
    """What becomes of a window's places: their mean, their greatest, or all of them (null, none)."""
    masked: bool = False
    """Let places see only what stands before them."""
    pretrained_model: Literal[False] = False
    """Only false; `model.pretrained_checkpoint` of the global file takes weights of an earlier run."""
    freeze_pretrained_model: Literal[False] = False
    """Only false."""
    blocks: TransformerBlocks = Field(default=TransformerBlocks(), alias="model_init_config")
    """The blocks."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.embedding_dim % (2 * self.blocks.num_heads):
            raise PydanticCustomError(
                "heads",
                "'embedding_dim' is {dim}, of which {heads} heads ('num_heads') cannot have even shares",
                {"dim": self.embedding_dim, "heads": self.blocks.num_heads},
            )
        return self


class _Mixed(Section):
    """What every type of input has."""

    mixing_subtype: Literal["mixup"] = "mixup"
    """The only one."""
    modality_dropout_rate: float = Field(default=0.0, ge=0, lt=1)
    """Part of the samples that are shown nothing of this input in training."""


class BytesTypeInfo(_Mixed):
    """Raw bytes, each an id of its own."""

    max_length: PositiveInt = 256
    """Bytes that the model sees; shorter inputs are padded on the right."""
    sampling_strategy_if_longer: Literal["from_start", "uniform"] = "uniform"
    """uniform: any part of a longer input, drawn anew each time, in training; from_start: the first. Validation and
    serving always take the first."""
    byte_encoding: Literal["uint8"] = "uint8"
    """The only one."""


class TextSettings(Section):
    """How text becomes ids."""

    max_length: PositiveInt | Literal["average", "max"] = "average"
    """Tokens that the model sees; average and max are those of the training samples."""
    sampling_strategy_if_longer: Literal["from_start", "uniform"] = "uniform"
    """As of bytes."""
    vocab_file: str | None = None
    """JSON file: token to id, or a saved BPE tokenizer; null: learned from the training samples."""
    min_freq: PositiveInt = 10
    """Tokens that are rarer than this are unknown; not used by bpe."""
    split_on: str | None = " "
    """What stands between tokens; "": every character is one; null: the tokenizer gets the whole text."""
    tokenizer: Literal["basic_english", "bpe", "bytes"] | None = None
    """bpe: learned pairs of characters; basic_english: lower-case words and punctuation; bytes: those of UTF-8; null:
    what `split_on` leaves."""
    adaptive_tokenizer_max_vocab_size: PositiveInt | None = None
    """Greatest vocabulary that bpe learns; null: 30000."""

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if self.split_on is None and self.tokenizer is None:
            raise PydanticCustomError("tokenizer", "'split_on' is null, so that a 'tokenizer' has to be named")
        return self


class SequenceTypeInfo(TextSettings, _Mixed):
    """Text."""


class TabularTypeInfo(_Mixed):
    """Columns of a table."""

    input_cat_columns: list[str] = []
    """Columns with categories; missing ones are a category of their own."""
    input_con_columns: list[str] = []
    """Columns with numbers, which are standardised; missing ones count as their mean."""
    label_parsing_chunk_size: None = None
    """Only null."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        columns = [*self.input_cat_columns, *self.input_con_columns]
        if not columns or len(columns) != len(set(columns)):
            raise PydanticCustomError(
                "columns", "name at least one column, and each once: they are {columns}", {"columns": columns}
            )
        return self


class TabularSettings(Section):
    """Embeddings of categories beside the numbers."""

    model_type: Literal["tabular"] = "tabular"
    """The only one."""
    fc_layer: bool = True
    """Let a fully connected layer follow, as wide as what comes in."""


class ArrayTypeInfo(_Mixed):
    """Numbers of one shape."""

    normalization: Literal["channel", "element"] | None = "element"
    """Standardise each element, or each index of the first axis, by mean and deviation of the training samples."""


class ArraySettings(Section):
    """How an array or image is read."""

    model_type: Literal["cnn", "linear"] = "cnn"
    """cnn: residual blocks of convolutions, each halving the axes after the first (channels); linear: one layer."""
    channels: PositiveInt = 32
    """Of the first block of cnn; they double from block to block."""
    num_blocks: PositiveInt | Literal["auto"] = "auto"
    """Of cnn; auto: until the shortest axis is 4 long, at most 4."""
    output_dim: PositiveInt = 128
    """Features that come out."""


class ImageTypeInfo(_Mixed):
    """Pictures in files of any kind that Pillow reads."""

    size: list[PositiveInt] = Field(default=[64], min_length=1, max_length=2)
    """Height and width, or one number for both, to which pictures are scaled."""
    mode: Literal["L", "RGB", "RGBA"] = "RGB"
    """Channels, as Pillow names them."""
    mean_normalization_values: list[float] | None = None
    """Of each channel, in 0..1; null: of the training samples."""
    stds_normalization_values: list[float] | None = None
    """Likewise the deviations."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = (self.mean_normalization_values, self.stds_normalization_values)
        if (given[0] is None) != (given[1] is None) or any(it and len(it) != len(self.mode) for it in given):
            raise PydanticCustomError("normalization", "give both means and deviations, one per channel, or neither")
        return self


class InputInfo(Section):
    """What an input is called and where it comes from."""

    input_source: str = Field(min_length=1)
    """A folder (a file's name without its ending is the sample's id), a text file that lists paths, a CSV file with a
    column ID, ws://host:port/path for a server of samples, or redis://host:port for what simulations put there."""
    input_name: str = Field(pattern=NAME_PATTERN)
    """Unique in the run. Of a redis:// source: what the tensors' keys begin with."""
    input_type: Literal["array", "bytes", "image", "sequence", "tabular"]
    """What it is."""


class InputConfig(Section):
    """An input file; its type chooses what `input_type_info` and `model_config` are."""

    input_info: InputInfo
    # Set by each type; here for what reads all.
    input_type_info: Any = None
    settings: Any = Field(default=None, alias="model_config")

    @property
    def name(self) -> str:
        return self.input_info.input_name

    @property
    def source(self) -> str:
        return self.input_info.input_source

    @property
    def type(self) -> str:
        return self.input_info.input_type


class BytesInputConfig(InputConfig):
    """An input of raw bytes."""

    input_type_info: BytesTypeInfo = BytesTypeInfo()
    settings: TransformerSettings = Field(default=TransformerSettings(), alias="model_config")


class SequenceInputConfig(InputConfig):
    """An input of text."""

    input_type_info: SequenceTypeInfo = SequenceTypeInfo()
    settings: TransformerSettings = Field(default=TransformerSettings(), alias="model_config")


class TabularInputConfig(InputConfig):
    """An input of columns."""

    input_type_info: TabularTypeInfo
    settings: TabularSettings = Field(default=TabularSettings(), alias="model_config")


class ArrayInputConfig(InputConfig):
    """An input of numbers."""

    input_type_info: ArrayTypeInfo = ArrayTypeInfo()
    settings: ArraySettings = Field(default=ArraySettings(), alias="model_config")


class ImageInputConfig(InputConfig):
    """An input of pictures."""

    input_type_info: ImageTypeInfo = ImageTypeInfo()
    settings: ArraySettings = Field(default=ArraySettings(), alias="model_config")


# Which class describes which type of input.
INPUT_CONFIGS: dict[str, type[InputConfig]] = {
    "array": ArrayInputConfig,
    "bytes": BytesInputConfig,
    "image": ImageInputConfig,
    "sequence": SequenceInputConfig,
    "tabular": TabularInputConfig,
}
