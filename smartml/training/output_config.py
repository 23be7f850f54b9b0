"""Output files: what a model is to answer, and the part of it that does."""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from smartml.training.config import ResidualSettings
from smartml.training.input_config import NAME_PATTERN, TextSettings, TransformerBlocks
from smartml.training.sections import Section


class TabularTargets(Section):
    """Columns to predict."""

    target_cat_columns: list[str] = []
    """Columns with categories."""
    target_con_columns: list[str] = []
    """Columns with numbers; they are standardised for training."""
    cat_label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the truth that is given to all classes alike."""
    cat_loss_name: Literal["BCEWithLogitsLoss", "CrossEntropyLoss"] = "CrossEntropyLoss"
    """BCEWithLogitsLoss: one logit, for exactly two classes."""
    con_loss_name: Literal["L1Loss", "MSELoss", "SmoothL1Loss"] = "MSELoss"
    """Loss of numbers, in standard deviations."""
    label_parsing_chunk_size: None = None
    """Only null."""
    uncertainty_weighted_mt_loss: bool = False
    """Weigh the losses of the columns by learned uncertainties (Kendall et al., arXiv 1705.07115), not alike."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        columns = [*self.target_cat_columns, *self.target_con_columns]
        if not columns or len(columns) != len(set(columns)):
            raise PydanticCustomError(
                "columns", "name at least one target column, and each once: they are {columns}", {"columns": columns}
            )
        if any("/" in column or column in (".", "..") for column in columns):
            raise PydanticCustomError("columns", "target columns name folders of results: no '/' in them")
        return self


class HeadSettings(ResidualSettings):
    """Residual blocks for each target, or one layer."""

    model_type: Literal["linear", "mlp_residual", "shared_mlp_residual"] = "mlp_residual"
    """mlp_residual: blocks for each target; shared_mlp_residual: the same blocks for all; linear: one layer each."""


class SequenceTargets(TextSettings):
    """Text to generate."""

    sequence_operation: Literal["autoregressive"] = "autoregressive"
    """The only one: token after token."""


class GeneratorSettings(Section):
    """The transformer that generates."""

    embedding_dim: PositiveInt = 64
    """Features of each token."""
    position: Literal["embed", "encode"] = "encode"
    """As of inputs."""
    position_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after positions are added."""
    blocks: TransformerBlocks = Field(default=TransformerBlocks(), alias="model_init_config")
    """The blocks, twice: before and after the inputs are looked at."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.embedding_dim % (2 * self.blocks.num_heads):
            raise PydanticCustomError(
                "heads",
                "'embedding_dim' is {dim}, of which {heads} heads ('num_heads') cannot have even shares",
                {"dim": self.embedding_dim, "heads": self.blocks.num_heads},
            )
        return self


class SamplingConfig(Section):
    """What is generated at every `sample_interval`, and how a token is drawn."""

    n_eval_inputs: NonNegativeInt = 10
    """Validation samples whose target is generated."""
    manual_inputs: list[dict[str, Any]] = []
    """Samples to generate for: a value for each input, with paths for arrays, images and bytes; a text under the
    output's own name is how the answer begins."""
    generated_sequence_length: PositiveInt = 64
    """Tokens at most."""
    temperature: PositiveFloat = 0.7
    """Logits are divided by it."""
    top_k: NonNegativeInt = 20
    """Draw from so many of the likeliest tokens; 0: from all."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Draw from the likeliest tokens that together are so likely (Holtzman et al., arXiv 1904.09751)."""
    tau: float = Field(default=0.95, gt=0, le=1)
    """Locally typical sampling (Meister et al., arXiv 2202.00666); 1: off."""
    repetition_penalty: PositiveFloat = 1.1
    """Logits of tokens that were drawn are divided by it, or multiplied when negative (Keskar et al., arXiv
    1909.05858)."""
    repetition_penalty_max_window: PositiveInt = 64
    """Tokens to look back for that."""
    frequency_penalty: NonNegativeFloat = 0.1
    """Taken from a token's logit each time that it was drawn."""
    frequency_penalty_max_window: PositiveInt = 128
    """Tokens to look back for that."""


class ArrayTargets(Section):
    """Numbers of one shape to predict."""

    normalization: Literal["channel", "element"] | None = "element"
    """As of inputs."""
    loss: Literal["l1", "mse", "smooth_l1"] = "mse"
    """Of the standardised numbers."""


class OutputInfo(Section):
    """What an output is called and where its truth comes from."""

    output_source: str = Field(min_length=1)
    """As `input_source`. A CSV file has columns ID and the targets', or ID and Sequence."""
    output_name: str = Field(pattern=NAME_PATTERN)
    """Unique in the run."""
    output_type: Literal["array", "sequence", "tabular"]
    """What it is."""


class OutputConfig(Section):
    """An output file; its type chooses what the other sections are."""

    output_info: OutputInfo
    # Set by each type; here for what reads all.
    output_type_info: Any = None
    settings: Any = Field(default=None, alias="model_config")
    sampling_config: SamplingConfig = SamplingConfig()

    @property
    def name(self) -> str:
        return self.output_info.output_name

    @property
    def source(self) -> str:
        return self.output_info.output_source

    @property
    def type(self) -> str:
        return self.output_info.output_type


class TabularOutputConfig(OutputConfig):
    """Columns of a table."""

    output_type_info: TabularTargets
    settings: HeadSettings = Field(default=HeadSettings(), alias="model_config")


class SequenceOutputConfig(OutputConfig):
    """Generated text."""

    output_type_info: SequenceTargets = SequenceTargets()
    settings: GeneratorSettings = Field(default=GeneratorSettings(), alias="model_config")


class ArrayOutputConfig(OutputConfig):
    """Numbers."""

    output_type_info: ArrayTargets = ArrayTargets()
    settings: HeadSettings = Field(default=HeadSettings(), alias="model_config")


# Which class describes which type of output.
OUTPUT_CONFIGS: dict[str, type[OutputConfig]] = {
    "array": ArrayOutputConfig,
    "sequence": SequenceOutputConfig,
    "tabular": TabularOutputConfig,
}
