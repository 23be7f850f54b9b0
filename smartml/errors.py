"""Every error that smartml raises on purpose, one class per thing a caller may want to do about it.

SmartMLError
├── ArgumentTypeError (TypeError)         an argument of the wrong type: fix the call
├── ArgumentValueError (ValueError)       an argument that cannot work: fix the call
├── MissingDependencyError (ImportError)  an optional package is not installed: install the extra it names
├── StoreError                            the database
│   ├── StoreConnectionError (ConnectionError)  no server there, or it went away: start it, retry
│   │   ├── StoreTimeoutError (TimeoutError)    no answer in time: retry, or allow more time
│   │   └── StoreProtocolError                  what answers is no Redis: fix the address
│   ├── StoreReplyError                   the server refused the command: read its reason
│   ├── StoreFullError                    no room for what is put: delete, wait longer, or allow more memory
│   ├── NotFoundError (KeyError)          nothing is stored under that name: fix the name, or wait
│   │   ├── TensorNotFoundError
│   │   ├── DatasetNotFoundError
│   │   ├── ListNotFoundError
│   │   ├── ModelNotFoundError
│   │   └── ScriptNotFoundError
│   ├── TensorFormatError (ValueError)    a value is not a tensor, or is damaged: put it again
│   ├── ModelFormatError (ValueError)     a value is neither a model nor a script, or is damaged: store it again
│   ├── TensorMismatchError (ValueError)  a tensor has another shape or dtype than its destination
│   ├── MetadataError (ValueError)        a dataset's metadata is damaged, or of another type than asked for
│   ├── TensorModuleError                 the module for SmartRedis programs cannot be built, found, or is not loaded
│   ├── InferenceError                    a model or script in the database failed: the message says how
│   └── ModelFileError (FileNotFoundError)  a file with a model or script is not there: fix its path
├── FeedError                             the growing training set
│   ├── FeedTimeoutError (TimeoutError)   no samples, or no room, in time: check the names and the other side
│   ├── SampleMismatchError (ValueError)  an arriving tensor does not fit the training set
│   └── RecordingError                    a recording cannot be written, read or replayed: name another folder
├── PipelineError                         streams and the stores that they read and fill
│   ├── SpentSourceError                  a source that can be read once was to be read again: give one that begins anew
│   ├── StateError (ValueError)           a saved state does not belong to the chain: build the chain it was saved from
│   ├── PyTorchSplittingException         ranks or workers would lose or double items: split the stream as it says
│   ├── KeyNotFoundError (KeyError)       a store of samples has nothing under that key: fix the key
│   └── ShardFormatError (ValueError)     a stored shard or value is damaged: write it again, or delete it
├── MonitorError                          records of a run, and what shows them
│   ├── RecordsConnectionError (ConnectionError)  no record server answers: start it, fix the address, retry
│   ├── RecordsAccessError (PermissionError)  the record server wants a token or certificate: name its file
│   ├── RecordsNotFoundError (KeyError)   no such scope or name: fix it
│   ├── RecordsFormatError (ValueError)   what is there is no store of records: fix the path
│   ├── RecordsInUseError                 another process writes to the store: ask that one, or stop it
│   ├── SchemaError (ValueError)          a file that says how plots are drawn is wrong: fix what it names
│   └── AssetsError                       the scripts of live pages are missing, or not the published ones: fetch them
├── StreamingError                        samples over WebSocket
│   ├── StreamingConnectionError (ConnectionError)  no server there, or it went away: start it, retry
│   │   └── StreamingTimeoutError (TimeoutError)    nothing came in time: allow more time, or look at the other side
│   ├── StreamingRefusedError             the server does not want this client: fix version, token or address
│   ├── MessageError (ValueError)         a message is none of the protocol, or too large: fix the other side
│   └── SampleFormatError (ValueError)    a sample is not what was announced: fix the sample, or the announcement
├── TrainingError                         runs described in YAML, and what they have learned
│   ├── ConfigError (ValueError)          a configuration cannot work: fix the key of the file that it names
│   ├── DataError (ValueError)            training data is missing, damaged or does not fit: fix the source
│   ├── SampleError (ValueError)          a sample cannot be given to the model: fix its field
│   ├── CheckpointError (ValueError)      a checkpoint or its run folder is missing, damaged or of another model
│   ├── RunExistsError (FileExistsError)  the run folder holds a run: take another, or resume that one
│   └── DivergenceError (ArithmeticError) the loss is no number any more: take a smaller learning rate
├── ServingError                          a trained model that answers
│   ├── PredictionError                   the model failed on samples that it could take: the message says how
│   ├── QueueFullError                    more wait than the server takes on: ask again later
│   └── ListenError (OSError)             the server cannot listen at its address: take another one
└── ExperimentError                       what an experiment describes and starts
    ├── LaunchError                       a program could not be started: fix the command
    │   ├── ProgramNotFoundError (FileNotFoundError)  no such program: fix its name, or the PATH
    │   ├── SubmissionError               a batch system did not take a job: its own words say why
    │   └── AllocationError               there is no allocation, or none was given: ask for one, or for less
    ├── SchedulerError                    a batch system does not answer, or not as it should: ask again later
    ├── DependencyError                   what a program waits for can never come: start it, or wait for less
    ├── PathNotFoundError (FileNotFoundError)  a file or folder that was named is not there: fix its path
    ├── PathExistsError (FileExistsError) a file or folder is in the way: remove it, or take another name
    ├── PlacementError (OSError)          a file cannot be put into a program's folder: the message says why
    ├── DuplicateNameError (ValueError)   two entities of one experiment share a name: rename one
    ├── StrategyError (ValueError)        a strategy of the user's made no members: fix what it returns
    ├── NotStartedError (KeyError)        the entity does not run, or never did: start it first
    ├── AlreadyStartedError               the entity runs already: stop it first
    ├── ServerStartError                  the database server did not come up: the message says why
    │   └── PortTakenError                another program listens on the port: take another, or 0 for any
    └── UnsupportedError (NotImplementedError)  smartml cannot do this (yet): the message names the way round
"""


class SmartMLError(Exception):
    """The root of every error raised by smartml."""

    def __str__(self) -> str:
        # KeyError, a second parent of some errors below, would print the message in quotes.
        return Exception.__str__(self)


class ArgumentTypeError(SmartMLError, TypeError):
    """An argument has a type that the call does not take."""


class ArgumentValueError(SmartMLError, ValueError):
    """An argument has a value that the call cannot work with."""


class MissingDependencyError(SmartMLError, ImportError):
    """An optional package is missing; the message names the extra that brings it."""


class StoreError(SmartMLError):
    """Something went wrong between a client and the database, or with what is stored there."""


class StoreConnectionError(StoreError, ConnectionError):
    """No server answers at the address, or the connection broke."""


class StoreTimeoutError(StoreConnectionError, TimeoutError):
    """The server did not answer within the time allowed."""


class StoreProtocolError(StoreConnectionError):
    """What answers at the address does not speak the Redis protocol."""


class StoreReplyError(StoreError):
    """The server answered a command with an error."""


class StoreFullError(StoreError):
    """The database, or the part of it that a stream may use, has no room for what was put."""


class NotFoundError(StoreError, KeyError):
    """Nothing is stored under the name."""


class TensorNotFoundError(NotFoundError):
    """No tensor is stored under the name."""


class DatasetNotFoundError(NotFoundError):
    """No complete dataset is stored under the name."""


class ListNotFoundError(NotFoundError):
    """No aggregation list is stored under the name."""


class ModelNotFoundError(NotFoundError):
    """No model is stored under the name."""


class ScriptNotFoundError(NotFoundError):
    """No script is stored under the name."""


class TensorFormatError(StoreError, ValueError):
    """The bytes of a value are not a tensor, or are damaged."""


class ModelFormatError(StoreError, ValueError):
    """A stored value is neither a model nor a script, or its bytes do not add up."""


class TensorMismatchError(StoreError, ValueError):
    """A stored tensor has another shape or dtype than the array that should receive it."""


class MetadataError(StoreError, ValueError):
    """A metadata field is damaged, or holds another type than was asked for."""


class TensorModuleError(StoreError):
    """The module that SmartRedis programs need in the server cannot be built, or is not where it should be."""


class InferenceError(StoreError):
    """A model or script could not be run in the database, or failed on its tensors."""


class ModelFileError(StoreError, FileNotFoundError):
    """The file of a model or script does not exist."""


class FeedError(SmartMLError):
    """A training set cannot be built or continued."""


class FeedTimeoutError(FeedError, TimeoutError):
    """What a feed or an uploader waits for, samples or room, did not come in the time allowed."""


class SampleMismatchError(FeedError, ValueError):
    """An arriving tensor differs in shape or dtype from the training set it should join."""


class RecordingError(FeedError):
    """A recorded stream cannot be written, read or replayed; the message says what is in the way."""


class PipelineError(SmartMLError):
    """A stream, or a store of samples that it reads or fills, cannot go on."""


class SpentSourceError(PipelineError):
    """A source that can be read only once was to be read a second time."""


class StateError(PipelineError, ValueError):
    """A saved state does not fit the chain it was given to, or none can be told."""


class PyTorchSplittingException(PipelineError):
    """A stream that several ranks or workers read is not split between them, or cannot be."""


class KeyNotFoundError(PipelineError, KeyError):
    """A store of samples has nothing under the key."""


class ShardFormatError(PipelineError, ValueError):
    """A stored shard or value is cut off, damaged, or of another format than the store's."""


class MonitorError(SmartMLError):
    """Records cannot be written, read or shown as asked."""


class RecordsConnectionError(MonitorError, ConnectionError):
    """No record server answers at the address, or the connection broke."""


class RecordsAccessError(MonitorError, PermissionError):
    """The record server does not accept the token or certificate, or cannot be started without."""


class RecordsNotFoundError(MonitorError, KeyError):
    """The store has no such scope, or no such name in it."""


class RecordsFormatError(MonitorError, ValueError):
    """What was found is not a store of records, or is one of a version that is not known here."""


class RecordsInUseError(MonitorError):
    """Another process has the store open for writing."""


class SchemaError(MonitorError, ValueError):
    """A schema of plots cannot be read, or asks for what cannot be drawn."""


class AssetsError(MonitorError):
    """A script that live pages need is not installed, cannot be fetched, or is not the published one."""


class StreamingError(SmartMLError):
    """Samples cannot be served or received over WebSocket; the message names the server."""


class StreamingConnectionError(StreamingError, ConnectionError):
    """No streaming server answers at the address, or the connection broke and did not come back."""


class StreamingTimeoutError(StreamingConnectionError, TimeoutError):
    """The other side of a streaming connection did not answer, or no samples came, in the time allowed."""


class StreamingRefusedError(StreamingError):
    """A streaming server refused the client: another version, no valid token, a foreign origin."""


class MessageError(StreamingError, ValueError):
    """A message is not one of the streaming protocol; the text names message and field."""


class SampleFormatError(StreamingError, ValueError):
    """A sample, or one value in it, is not what the info of the stream announces."""


class TrainingError(SmartMLError):
    """A run cannot be trained, continued, or used."""


class ConfigError(TrainingError, ValueError):
    """A file or override of a run's configuration has a key or value that cannot work."""


class DataError(TrainingError, ValueError):
    """What a run is to be trained on cannot be read, joined or learned from."""


class SampleError(TrainingError, ValueError):
    """A value of a sample is not what the model's input takes; `sample` is its number, `field` the input's name."""

    def __init__(self, message: str, sample: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.sample, self.field = sample, field


class CheckpointError(TrainingError, ValueError):
    """A checkpoint, or the folder of its run, cannot be read, or belongs to another model."""


class RunExistsError(TrainingError, FileExistsError):
    """The folder that a run should be written to holds one already."""


class DivergenceError(TrainingError, ArithmeticError):
    """The loss of a run has become infinite, or no number at all."""


class ServingError(SmartMLError):
    """A trained model cannot answer."""


class PredictionError(ServingError):
    """The model failed on samples that it could take."""


class QueueFullError(ServingError):
    """More samples wait for their answer than a server takes on."""


class ListenError(ServingError, OSError):
    """A server cannot listen at the address it was given."""


class ExperimentError(SmartMLError):
    """An experiment cannot be described, started or stopped as asked."""


class LaunchError(ExperimentError):
    """A program could not be started."""


class ProgramNotFoundError(LaunchError, FileNotFoundError):
    """A program is not on the PATH, or not where its path says, or not executable."""


class SubmissionError(LaunchError):
    """A batch system did not take a job, or did not say which job it took."""


class AllocationError(LaunchError):
    """A batch system gave no nodes, or this process runs on none that it was given."""


class SchedulerError(ExperimentError):
    """A command of a batch system does not answer, or what it prints is not understood."""


class DependencyError(ExperimentError):
    """What a program waits for before it starts can never come."""


class PathNotFoundError(ExperimentError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class PathExistsError(ExperimentError, FileExistsError):
    """A file or folder is in the way of one that should be made."""


class PlacementError(ExperimentError, OSError):
    """A file that a program needs cannot be read, or not written to its folder."""


class DuplicateNameError(ExperimentError, ValueError):
    """Two different entities of one experiment have the same name."""


class StrategyError(ExperimentError, ValueError):
    """A strategy of the user's does not return the parameters of members."""


class NotStartedError(ExperimentError, KeyError):
    """The entity does not run, or was never started."""


class AlreadyStartedError(ExperimentError):
    """The entity runs already."""


class ServerStartError(ExperimentError):
    """The database server did not start."""


class PortTakenError(ServerStartError):
    """Another program listens on the port."""


class UnsupportedError(ExperimentError, NotImplementedError):
    """smartml cannot do what was asked; the message names what it can do instead."""
