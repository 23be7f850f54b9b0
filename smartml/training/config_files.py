"""Files of a configuration read, changed by words of the command line, checked, and written again."""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from smartml.errors import ConfigError
from smartml.store.similar import nearest_names
from smartml.training.config import FusionConfig, GlobalConfig
from smartml.training.input_config import INPUT_CONFIGS, InputConfig
from smartml.training.output_config import OUTPUT_CONFIGS, OutputConfig
from smartml.training.run_folder import RunFolder
from smartml.training.sections import Section

# An override: [--]<stem of a file>.<key>[.<key>…]=<value>.
_OVERRIDE = re.compile(r"(?:--)?(?P<stem>[^.=]+)\.(?P<keys>[^=]+)=(?P<value>.*)", re.DOTALL)
# Addresses of streams, as opposed to paths.
STREAM = re.compile(r"(?:wss?|rediss?)://")

Described = TypeVar("Described", bound=Section)


@dataclass(frozen=True)
class Configuration:
    """All that describes a run, checked and with defaults filled in."""

    globals: GlobalConfig
    inputs: tuple[InputConfig, ...]
    fusion: FusionConfig
    outputs: tuple[OutputConfig, ...]

    @property
    def stream(self) -> str | None:
        """The address that samples come from; None: from files."""
        return next(filter(STREAM.match, (config.source for config in self.described)), None)

    @property
    def described(self) -> list[InputConfig | OutputConfig]:
        """Inputs, then outputs."""
        return [*self.inputs, *self.outputs]


@dataclass(frozen=True)
class _File:
    path: str
    content: dict[str, Any]


def read_configuration(
    global_configs: Sequence[str | Path],
    input_configs: Sequence[str | Path] = (),
    fusion_configs: Sequence[str | Path] = (),
    output_configs: Sequence[str | Path] = (),
    overrides: Iterable[str] = (),
) -> Configuration:
    """Read the files of a run, with `overrides` such as "globals.basic_experiment.n_epochs=3" applied.

    The global files, and those of the fusion, are merged, later ones over earlier ones. Raises ConfigError naming file
    and key.
    """
    groups = [[_read(path) for path in paths] for paths in (global_configs, input_configs, fusion_configs)]
    groups.append([_read(path) for path in output_configs])
    for override in overrides:
        _apply(override, [file for group in groups for file in group])
    global_files, input_files, fusion_files, output_files = groups
    return check_configuration(_merged(global_files), input_files, _merged(fusion_files), output_files)


def check_configuration(
    global_file: "_File", input_files: Sequence["_File"], fusion_file: "_File", output_files: Sequence["_File"]
) -> Configuration:
    """Make a configuration of what the files hold, or raise ConfigError."""
    configuration = Configuration(
        _described(GlobalConfig, global_file),
        tuple(_described(_chosen(INPUT_CONFIGS, "input", file), file) for file in input_files),
        _described(FusionConfig, fusion_file),
        tuple(_described(_chosen(OUTPUT_CONFIGS, "output", file), file) for file in output_files),
    )
    _check_together(configuration, [file.path for file in (*input_files, *output_files)])
    return configuration


def _read(path: str | Path) -> _File:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, not sections of keys and values")
    return _File(str(path), content)


def _apply(override: str, files: Sequence[_File]) -> None:
    """Write the value of an override into what was read of its file."""
    found = _OVERRIDE.fullmatch(override)
    if found is None:
        raise ConfigError(f"{override!r} is no override: write <stem of a file>.<key>.<key>=<value>")
    stems = {Path(file.path).stem: file for file in files}
    if found["stem"] not in stems:
        raise ConfigError(f"override {override!r}: no file {found['stem']!r} was given; there are {', '.join(stems)}")
    *sections, key = found["keys"].split(".")
    place = stems[found["stem"]].content
    for section in sections:
        if not isinstance(place.setdefault(section, {}), dict):
            place[section] = {}
        place = place[section]
    place[key] = _value(found["value"])


def _value(text: str) -> Any:
    """Read a value as Python writes it, or true, false and null as YAML does; else it is text."""
    words = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _merged(files: Sequence[_File]) -> _File:
    """Lay the files over each other; the name of the result lists theirs."""
    content: dict[str, Any] = {}
    for file in files:
        content = _laid_over(content, file.content)
    return _File(", ".join(file.path for file in files) or "(no file)", content)


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(below)
    for key, value in above.items():
        is_section = isinstance(merged.get(key), dict) and isinstance(value, Mapping)
        merged[key] = _laid_over(merged[key], value) if is_section else deepcopy(value)
    return merged


def _chosen(kinds: Mapping[str, type[Described]], what: str, file: _File) -> type[Described]:
    """Choose the class that describes the file's type of input or output."""
    info = file.content.get(f"{what}_info")
    if not isinstance(info, dict):
        raise ConfigError(f"{file.path}: {what}_info: is missing, or no section")
    kind = info.get(f"{what}_type")
    if not isinstance(kind, str) or kind not in kinds:
        near = nearest_names(str(kind), kinds)
        hint = f", perhaps {near[0]!r}" if near else ""
        raise ConfigError(f"{file.path}: {what}_info.{what}_type: is {kind!r}{hint}; known are {', '.join(kinds)}")
    return kinds[kind]


def _described(kind: type[Described], file: _File) -> Described:
    try:
        return kind.model_validate(file.content)
    except ValidationError as error:
        raise ConfigError("; ".join(_worded(file.path, one) for one in error.errors())) from error


def _worded(path: str, error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    got = (
        ""
        if error["type"] in ("unknown_key", "missing") or isinstance(error["input"], Section | dict)
        else (f" (it is {error['input']!r:.80})")
    )
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{path}: {place + ': ' if place else ''}{message}{got}"


def _check_together(configuration: Configuration, paths: Sequence[str]) -> None:
    """Check what no file can know alone."""
    described = configuration.described
    _check_names(described, paths)
    _check_sources(described, paths)
    kinds = {output.type for output in configuration.outputs}
    if not configuration.outputs:
        raise ConfigError("a run needs at least one output file: what is the model to learn?")
    fusion = configuration.fusion.model_type
    if not configuration.inputs and kinds != {"sequence"}:
        raise ConfigError("a run without input files can only learn sequences: give an input file")
    if fusion == "pass-through" and "sequence" not in kinds:
        raise ConfigError(
            "model_type: pass-through of the fusion file is for sequence outputs: leave it out, or take mlp-residual"
        )
    schedule = configuration.globals.lr_schedule.lr_schedule
    if configuration.stream is not None and schedule in ("cosine", "cycle"):
        raise ConfigError(
            f"lr_schedule.lr_schedule: {schedule} needs a run of known length, which a stream is not: "
            "take plateau or same"
        )
    if configuration.stream is not None and configuration.globals.training_control.weighted_sampling_columns:
        raise ConfigError("training_control.weighted_sampling_columns: a stream is taken as it comes: leave it out")


def _check_names(described: Sequence[InputConfig | OutputConfig], paths: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for config, path in zip(described, paths, strict=True):
        if config.name in seen:
            raise ConfigError(f"{path}: the name {config.name!r} is taken by {seen[config.name]}: choose another")
        if config.name in (".", ".."):
            raise ConfigError(f"{path}: {config.name!r} cannot be a name: it names folders")
        seen[config.name] = path


def _check_sources(described: Sequence[InputConfig | OutputConfig], paths: Sequence[str]) -> None:
    """All of a run comes from files, or all from one stream."""
    first = described[0].source if described else ""
    for config, path in zip(described, paths, strict=True):
        if (STREAM.match(config.source) or STREAM.match(first)) and config.source != first:
            raise ConfigError(
                f"{path}: the source is {config.source!r}, that of {described[0].name!r} {first!r}: a stream is the "
                "one source of all inputs and outputs of a run"
            )


# Where a run folder keeps its configuration, and how each file is made.
_WRITTEN: dict[str, Callable[[Configuration], Any]] = {
    "global_config": lambda it: it.globals.written(),
    "input_configs": lambda it: [config.written() for config in it.inputs],
    "fusion_config": lambda it: it.fusion.written(),
    "output_configs": lambda it: [config.written() for config in it.outputs],
}


def write_configuration(configuration: Configuration, folder: Path) -> None:
    """Write all of a configuration to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _WRITTEN.items():
        text = yaml.safe_dump(content(configuration), sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def read_written(folder: Path, overrides: Iterable[str] = ()) -> Configuration:
    """Read what `write_configuration` has written, with overrides of the global file."""
    files = {}
    for name in _WRITTEN:
        path = folder / f"{name}.yaml"
        try:
            files[name] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
    general = _File(str(folder / "global_config.yaml"), files["global_config"])
    for override in overrides:
        _apply(override, [general])
    return check_configuration(
        general,
        [_File(f"{folder}/input_configs.yaml", content) for content in files["input_configs"]],
        _File(f"{folder}/fusion_config.yaml", files["fusion_config"]),
        [_File(f"{folder}/output_configs.yaml", content) for content in files["output_configs"]],
    )


def resume_configuration(folder: str | Path, overrides: Iterable[str] = ()) -> Configuration:
    """Read the configuration of the run in a folder, wherever that is now, with overrides of `global_config`."""
    path = Path(folder)
    configuration = read_written(RunFolder(path).configs, overrides)
    general = configuration.globals
    basic = general.basic_experiment.model_copy(update={"output_folder": str(path)})
    return replace(configuration, globals=general.model_copy(update={"basic_experiment": basic}))


def without_paths(configuration: Configuration) -> Configuration:
    """Return the configuration without what is true of one machine only: paths and addresses of data."""
    general = configuration.globals
    basic = general.basic_experiment.model_copy(update={"manual_valid_ids_file": None})
    model = general.model.model_copy(update={"pretrained_checkpoint": None})
    monitor = type(general.monitor)()
    return Configuration(
        general.model_copy(update={"basic_experiment": basic, "model": model, "monitor": monitor}),
        tuple(
            config.model_copy(update={"input_info": config.input_info.model_copy(update={"input_source": "-"})})
            for config in configuration.inputs
        ),
        configuration.fusion,
        tuple(
            config.model_copy(update={"output_info": config.output_info.model_copy(update={"output_source": "-"})})
            for config in configuration.outputs
        ),
    )
