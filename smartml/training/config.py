"""The global file of a run, section by section: each key with its type, default and unit.

The sections and keys are those of EIR; what is not in EIR says so.
"""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from smartml.training.sections import Section

CategoryMetric = Literal[
    "acc",
    "ap-macro",
    "cohen-kappa",
    "f1-macro",
    "mcc",
    "precision-macro",
    "recall-macro",
    "roc-auc-macro",
]
NumberMetric = Literal["explained-variance", "loss", "mae", "mape", "pcc", "r2", "rmse"]


class BasicExperiment(Section):
    """What is trained on, and for how long."""

    output_folder: str = Field(min_length=1)
    """Run folder. Its last part begins the names of checkpoints."""
    n_epochs: PositiveInt = 10
    """Passes over the data. 1 for a stream of a WebSocket server, which says itself when it ends."""
    batch_size: PositiveInt = 64
    """Samples in a batch, of each process; a last incomplete batch of a training pass is left out."""
    valid_size: PositiveFloat = 0.1
    """Part of the samples that is held out for validation, or from 1 on their number."""
    manual_valid_ids_file: str | None = None
    """Text file with the ids of the samples to hold out, one in a line, instead of `valid_size` drawn at random."""
    memory_dataset: bool = False
    """Read every file once and keep what was read, or read it again each time that it is needed."""
    dataloader_workers: NonNegativeInt = 0
    """Processes that read samples of files beside the one that trains."""
    device: str = "cpu"
    """Deprecated, as in EIR: see `accelerator.hardware`. Only "cpu" is taken."""
    seed: NonNegativeInt = 0
    """Of everything drawn at random: what is held out, weights, order, dropout. Not in EIR, which has EIR_SEED."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.device != "cpu":
            raise PydanticCustomError("device", "'device' is no longer used: name the device in accelerator.hardware")
        if self.valid_size > 1 and not self.valid_size.is_integer():
            raise PydanticCustomError("valid_size", "'valid_size' from 1 on is a number of samples: write a whole one")
        return self


class DataPreparation(Section):
    """How a stream is got to know before training begins."""

    streaming_setup_samples: PositiveInt = 10_000
    """Samples to gather from a stream at most: vocabularies, classes and scales are taken from them, and what is held
    out for validation."""
    streaming_batch_size: PositiveInt | None = None
    """Samples to ask a server for at once while gathering; null: `batch_size`."""
    streaming_wait_timeout_s: PositiveFloat = 600.0
    """Seconds without a new sample after which a stream is given up. Not in EIR."""


class EvaluationCheckpoint(Section):
    """When a run is judged and saved. An iteration is one batch."""

    sample_interval: PositiveInt = 200
    """Iterations between validations, with their samples and curves."""
    checkpoint_interval: PositiveInt | None = None
    """Iterations between checkpoints, a multiple of `sample_interval`; null: none are written."""
    n_saved_models: PositiveInt = 1
    """Checkpoints that stay: the best, by perf-average."""
    saved_result_detail_level: Literal[1, 2, 3, 4, 5] = 5
    """5: all; 4: no samples; 3: no curves of single targets either; 2: no metrics of single targets; 1: no curves."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint_interval is not None and self.checkpoint_interval % self.sample_interval:
            raise PydanticCustomError(
                "interval",
                "'checkpoint_interval' is {own}, which is no multiple of 'sample_interval', {other}",
                {"own": self.checkpoint_interval, "other": self.sample_interval},
            )
        return self


class VisualizationLogging(Section):
    """What is shown of a run."""

    plot_skip_steps: NonNegativeInt = 200
    """Curves leave out what came before this iteration, and are drawn once there is something after it."""
    no_pbar: bool = False
    """Show no progress on the terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What `logging_history.log` holds."""
    save_model_diagram: Literal[False] = False
    """Only false: `model_architecture/model_info.txt` lists the layers in words."""


class TrainingControl(Section):
    """How the samples of a pass are drawn, mixed, and when it is enough."""

    mixing_alpha: NonNegativeFloat = 0.0
    """Mixup (Zhang et al., arXiv 1710.09412) of embedded inputs with a share of Beta(alpha, alpha); 0: none."""
    early_stopping_patience: NonNegativeInt = 10
    """Validations in a row without a better perf-average after which training ends; 0: it goes on."""
    early_stopping_buffer: NonNegativeInt | None = None
    """Iterations before which it does not end early."""
    weighted_sampling_columns: list[str] | None = None
    """Target columns, or ["all"], whose classes are to be drawn equally often, for classes of unequal size."""


class Optimization(Section):
    """How weights change."""

    optimizer: Literal["adam", "adamw", "nadam", "radam", "rmsprop", "sgd"] = "adamw"
    """One of torch.optim."""
    lr: PositiveFloat = 3e-4
    """Learning rate after the warm-up."""
    lr_lb: NonNegativeFloat = 0.0
    """Learning rate from which the warm-up rises, and below which no schedule goes."""
    b1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the average of gradients; momentum of sgd and rmsprop."""
    b2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the average of squared gradients."""
    wd: NonNegativeFloat = 1e-4
    """Weight decay, of matrices alone: not of biases, norms and other vectors."""
    gradient_clipping: PositiveFloat | None = 1.0
    """Greatest norm of all gradients together; null: any."""
    gradient_accumulation_steps: PositiveInt | None = None
    """Batches whose gradients are averaged for one step; null: 1."""
    gradient_noise: NonNegativeFloat = 0.0
    """Standard deviation of noise that is added to gradients."""


class LearningRateSchedule(Section):
    """How the learning rate changes. All of it counts steps of the optimizer."""

    lr_schedule: Literal["cosine", "cycle", "plateau", "same"] = "plateau"
    """cosine: falls to `lr_lb` at the end of the run; cycle: rises for 30 % of it, then falls; plateau: falls whenever
    perf-average gets no better; same: stays. cosine and cycle need a run of known length, which a stream is not."""
    lr_plateau_patience: NonNegativeInt = 10
    """Validations without a better perf-average before plateau falls."""
    lr_plateau_factor: float = Field(default=0.2, gt=0, lt=1)
    """What plateau multiplies the rate by."""
    warmup_steps: NonNegativeInt | Literal["auto"] = "auto"
    """Steps in which the rate rises linearly from `lr_lb` to `lr`. auto: 2 / (1 - b2), but at most a tenth of the run
    where its length is known. Not used by cycle, which has its own."""


class Metrics(Section):
    """What is computed in validations, and what of it makes up perf-average."""

    cat_metrics: list[CategoryMetric] = ["mcc", "acc", "roc-auc-macro", "ap-macro"]
    """Of categorical targets."""
    con_metrics: list[NumberMetric] = ["r2", "pcc", "loss"]
    """Of continuous targets."""
    cat_averaging_metrics: list[CategoryMetric] = Field(default=["mcc", "roc-auc-macro", "ap-macro"], min_length=1)
    """Their mean is the share of a categorical target in perf-average."""
    con_averaging_metrics: list[NumberMetric] = Field(default=["loss", "pcc", "r2"], min_length=1)
    """Their mean, with 1 - loss for loss, is the share of a continuous target; of errors their negative is taken."""


class ModelStart(Section):
    """Where the weights come from."""

    pretrained_checkpoint: str | None = None
    """Checkpoint whose weights to begin with; null: drawn at random."""
    strict_pretrained_loading: bool = True
    """Refuse a checkpoint with other weights than this model's, or take those that fit by name and shape."""
    compile_model: bool = False
    """Compile the model by torch.compile, which needs a C compiler."""
    n_iter_before_swa: None = None
    """Only null: weights are not averaged."""


class Accelerator(Section):
    """What the model runs on. Several processes are started by torchrun, and share the work."""

    hardware: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: cuda or mps where torch finds one, else cpu."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """mixed: torch.autocast to 16 bits, with the loss scaled for float16."""
    strategy: Literal["auto", "ddp"] = "auto"
    """Both: DistributedDataParallel where torchrun has started several processes."""
    devices: PositiveInt | Literal["auto"] = "auto"
    """Processes on each node; a number is compared with what torchrun started."""
    num_nodes: PositiveInt = 1
    """Compared likewise."""


class Monitor(Section):
    """Where metrics are logged beside the run's own files. Not in EIR."""

    uri: str | None = None
    """host:port of a server of records (`smartml monitor grpc-serve`); null: the one of a monitored experiment that
    started this run, if one did."""
    scope: str | None = None
    """Name of this run among others; null: the last part of the run folder."""


class GlobalConfig(Section):
    """What does not belong to one input or output."""

    basic_experiment: BasicExperiment
    data_preparation: DataPreparation = DataPreparation()
    evaluation_checkpoint: EvaluationCheckpoint = EvaluationCheckpoint()
    visualization_logging: VisualizationLogging = VisualizationLogging()
    training_control: TrainingControl = TrainingControl()
    optimization: Optimization = Optimization()
    lr_schedule: LearningRateSchedule = LearningRateSchedule()
    metrics: Metrics = Metrics()
    model: ModelStart = ModelStart()
    accelerator: Accelerator = Accelerator()
    monitor: Monitor = Monitor()


class ResidualSettings(Section):
    """Residual blocks of fully connected layers."""

    layers: list[PositiveInt] = Field(default=[2], min_length=1, max_length=1)
    """Number of blocks, as a list of one."""
    fc_task_dim: PositiveInt = 256
    """Width."""
    rb_do: float = Field(default=0.1, ge=0, lt=1)
    """Dropout inside of a block."""
    fc_do: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the last layer."""
    stochastic_depth_p: float = Field(default=0.1, ge=0, lt=1)
    """Part of the samples for which a block is left out in training (Huang et al., arXiv 1603.09382)."""


class FusionConfig(Section):
    """How the features of the inputs become one: the fusion file."""

    model_type: Literal["identity", "mlp-residual", "pass-through"] = "mlp-residual"
    """mlp-residual: blocks over the joined features; identity: the joined features; pass-through: each input's features
    as they are, for outputs that are all sequences."""
    settings: ResidualSettings = Field(default=ResidualSettings(), alias="model_config")
    """Of mlp-residual."""
