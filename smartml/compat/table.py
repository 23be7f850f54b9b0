"""Every public name of SmartSim 0.8 and SmartRedis 0.6, and of earlier ones as far as programs use them, with ours.

Names are written as the documentation of those packages imports them: `smartsim.settings.SrunSettings`. `NAMES` is all
that `smartml compat check` knows of them, and what a guide for moving over can print.
"""

from dataclasses import dataclass
from enum import Enum


class Verdict(str, Enum):
    """What becomes of a name."""

    # Under `smartml compat run`, or through the tensor module.
    UNCHANGED = "unchanged"
    # It works, and there is something better for it here.
    BETTER = "better"
    # Nothing answers to it.
    MISSING = "missing"


@dataclass(frozen=True)
class Name:
    """One name of theirs, and what there is for it here.

    theirs: dotted; `f(argument)` is a use of an argument, `f(argument=value)` one with that value.
    ours: what to write instead; of an unchanged name what it is called in smartml, empty where nothing changes.
    reason: why, where the verdict is not that it works unchanged.
    gives: the class of what a call of it returns, or of what it holds; in brackets where it is several of them.
    parent: of a class, the one whose names it has, too.
    """

    theirs: str
    verdict: Verdict = Verdict.UNCHANGED
    ours: str = ""
    reason: str = ""
    gives: str = ""
    parent: str = ""


def _same(theirs: str, ours: str, names: str, **gives: str) -> list[Name]:
    """Return names that smartml has, too, under `ours`, and those that give something."""
    found = [Name(f"{theirs}.{name}", ours=f"{ours}.{name}") for name in names.split()]
    return found + [Name(f"{theirs}.{name}", ours=f"{ours}.{name}", gives=given) for name, given in gives.items()]


def _kept(theirs: str, names: str, gives: str = "") -> list[Name]:
    """Return names that work, and are called otherwise in smartml, or are of no use there."""
    return [Name(f"{theirs}.{name}", gives=gives) for name in names.split()]


def _better(theirs: str, ours: str, reason: str, gives: str = "", parent: str = "") -> Name:
    return Name(theirs, Verdict.BETTER, ours, reason, gives, parent)


def _missing(theirs: str, ours: str, reason: str) -> Name:
    return Name(theirs, Verdict.MISSING, ours, reason)


_MODEL, _ENSEMBLE, _DATABASE = "smartsim.entity.Model", "smartsim.entity.Ensemble", "smartsim.database.Orchestrator"
_RUN, _BATCH = "smartsim.settings.RunSettings", "smartsim.settings.base.BatchSettings"
_CLIENT, _DATASET = "smartredis.Client", "smartredis.Dataset"
_START, _DOWNLOADER = "smartml.Experiment.start", "smartsim.ml.DataDownloader"

_DRAGON = "smartml has no launcher for Dragon; use that of the machine's batch system"
_COBALT = "no machine runs Cobalt any more"
_RECORDS = "the record server of the run keeps the states, and what programs log: start(…, monitor=True)"
_THREADS = "an option of RedisAI without effect; the threads of a model are those of its framework"
_ONE_CLASS = "the launcher is an argument: launcher=…"
_LOGGING = "smartml logs by the standard library's logging"

_MODULE_NAMES = [
    Name(theirs, ours=ours)
    for theirs, ours in {
        "smartredis": "smartml",
        "smartredis.error": "smartml.errors",
        "smartsim": "smartml",
        "smartsim.database": "smartml",
        "smartsim.entity": "smartml",
        "smartsim.error": "smartml.errors",
        "smartsim.ml": "smartml.feeds",
        "smartsim.ml.tf": "smartml.feeds.keras",
        "smartsim.ml.torch": "smartml.feeds.torch",
        "smartsim.servertype": "",
        "smartsim.settings": "smartml.experiment.schedulers",
        "smartsim.settings.base": "smartml.experiment.schedulers.batch",
        "smartsim.settings.settings": "smartml.experiment.schedulers.launchers",
        "smartsim.status": "smartml.experiment.states",
        "smartsim.wlm": "smartml.experiment.allocations",
        "smartsim.wlm.pbs": "smartml.experiment.allocations",
        "smartsim.wlm.slurm": "smartml.experiment.allocations",
    }.items()
]

_EXPERIMENTS = [
    Name("smartsim.Experiment", ours="smartml.Experiment"),
    *_same(
        "smartsim.Experiment",
        "smartml.Experiment",
        "start stop generate finished get_status preview summary db_identifiers",
        create_model=_MODEL,
        create_ensemble=_ENSEMBLE,
        create_run_settings=_RUN,
        create_batch_settings=_BATCH,
        create_database=_DATABASE,
        reconnect_orchestrator=_DATABASE,
    ),
    *_kept("smartsim.Experiment", "name exp_path launcher"),
    _better(
        "smartsim.Experiment.poll", "smartml.Experiment.wait", "it returns the moment that the programs have ended"
    ),
    _better("smartsim.Experiment.telemetry", _START, _RECORDS),
    *_same("smartsim", "smartml", "__version__"),
]

_ENTITIES = [
    Name(_MODEL, ours="smartml.Model"),
    *_same(
        _MODEL,
        "smartml.Model",
        "type colocated set_path params_to_args enable_key_prefixing disable_key_prefixing query_key_prefixing "
        "register_incoming_entity attach_generator_files colocate_db_tcp colocate_db_uds add_ml_model add_script "
        "add_function",
    ),
    *_kept(
        _MODEL,
        "name params params_as_args path batch_settings files incoming_entities attached_files_table "
        "print_attached_files",
    ),
    *_kept(_MODEL, "run_settings", gives=_RUN),
    _better(f"{_MODEL}.colocate_db", "smartml.Model.colocate_db_tcp", "the new name of it; the old one warns"),
    Name(_ENSEMBLE, ours="smartml.Ensemble"),
    *_same(
        _ENSEMBLE,
        "smartml.Ensemble",
        "type batch set_path add_model enable_key_prefixing query_key_prefixing register_incoming_entity "
        "attach_generator_files add_ml_model add_script add_function",
        models=f"[{_MODEL}]",
        entities=f"[{_MODEL}]",
    ),
    *_kept(_ENSEMBLE, "name params path batch_settings"),
    _missing(f"{_ENSEMBLE}.run_settings", "", "each member has its own: member.run_settings"),
    _missing(f"{_ENSEMBLE}.params_as_args", "", "each member has its own: member.params_as_args"),
    *(_missing(f"{_MODEL}.{name}", "", "Model.db_objects holds both") for name in ("db_models", "db_scripts")),
    *_kept("smartsim.entity", "SmartSimEntity EntityList EntitySequence TaggedFilesHierarchy DBNode DBObject"),
    _better("smartsim.entity.TelemetryConfiguration", _START, _RECORDS),
    *_kept("smartsim.entity", "DBModel DBScript"),
]

_DATABASES = [
    Name(_DATABASE, ours="smartml.Orchestrator"),
    *_same(
        _DATABASE,
        "smartml.Orchestrator",
        "type path checkpoint_file ports hosts batch get_address is_active set_cpus set_walltime set_hosts reset_hosts "
        "set_batch_arg set_run_arg remove_stale_files enable_checkpoints set_max_memory set_eviction_strategy "
        "set_max_clients set_max_message_size set_db_conf",
    ),
    *_kept(_DATABASE, "name db_identifier num_shards db_nodes launcher run_command batch_settings"),
    _better(f"{_DATABASE}.telemetry", _START, _RECORDS),
    *(
        _better(f"{_DATABASE}({name})", "", _THREADS)
        for name in ("threads_per_queue", "inter_op_threads", "intra_op_threads")
    ),
    *(_missing(f"smartsim.database.{name}Orchestrator", "smartml.Orchestrator", _ONE_CLASS) for name in ("LSF", "PBS")),
    _missing("smartsim.database.SlurmOrchestrator", "smartml.Orchestrator", _ONE_CLASS),
    _missing("smartsim.database.CobaltOrchestrator", "", _COBALT),
]


def _settings(scheduler: str, name: str, parent: str, members: str = "") -> list[Name]:
    ours = f"smartml.experiment.schedulers.{scheduler}.{name}"
    theirs = f"smartsim.settings.{name}"
    return [Name(theirs, ours=ours, parent=parent), *_same(theirs, ours, members)]


_SETTINGS = [
    *_settings(
        "settings",
        "RunSettings",
        "smartsim.settings.SettingsBase",
        "add_exe_args update_env set format_run_args format_env_vars set_nodes set_tasks set_tasks_per_node "
        "set_task_map set_cpus_per_task set_cpu_binding_type set_hostlist set_hostlist_from_file set_excluded_hosts "
        "set_cpu_bindings set_memory_per_node set_verbose_launch set_quiet_launch set_broadcast set_time set_walltime "
        "set_node_feature set_binding set_mpmd_preamble make_mpmd",
    ),
    *_kept(_RUN, "exe exe_args run_args env_vars run_command container mpmd"),
    _missing(f"{_RUN}.in_batch", "", "settings do not change when something starts"),
    _missing(f"{_RUN}.colocated_db_settings", "", "a database of a program's own is the model's: Model.colocated"),
    *_settings("slurm", "SrunSettings", _RUN, "set_het_group format_comma_sep_env_vars"),
    *_kept("smartsim.settings.SrunSettings", "alloc"),
    *_settings("mpi", "MpirunSettings", _RUN),
    *_settings("mpi", "MpiexecSettings", _RUN),
    *_settings("mpi", "OrterunSettings", _RUN),
    *_settings("pals", "PalsMpiexecSettings", _RUN, "set_gpu_affinity_script"),
    *_settings("alps", "AprunSettings", _RUN),
    *_settings(
        "lsf",
        "JsrunSettings",
        _RUN,
        "set_num_rs set_cpus_per_rs set_gpus_per_rs set_rs_per_host set_tasks_per_rs set_memory_per_rs "
        "set_individual_output set_erf_sets",
    ),
    _missing("smartsim.settings.DragonRunSettings", "smartml.experiment.schedulers.slurm.SrunSettings", _DRAGON),
    *_kept("smartsim.settings", "SettingsBase"),
    Name(_BATCH, ours="smartml.experiment.schedulers.batch.BatchSettings", parent="smartsim.settings.SettingsBase"),
    *_same(
        _BATCH,
        "smartml.experiment.schedulers.batch.BatchSettings",
        "batch_cmd preamble set_nodes set_queue set_walltime set_account set_hostlist set_batch_command add_preamble "
        "format_batch_args",
    ),
    *_kept(_BATCH, "batch_args"),
    *_settings("slurm", "SbatchSettings", _BATCH, "set_partition set_cpus_per_task"),
    *_settings("pbs", "QsubBatchSettings", _BATCH, "set_ncpus set_resource resources"),
    *_settings("lsf", "BsubBatchSettings", _BATCH, "set_tasks set_smts set_project set_expert_mode_req"),
    *_settings(
        "sge",
        "SgeQsubBatchSettings",
        _BATCH,
        "set_shebang set_ncpus set_ngpus set_pe_type set_hyperthreading set_memory_per_pe set_threads_per_pe "
        "set_project update_context_variables set_resource resources",
    ),
    _missing("smartsim.settings.CobaltBatchSettings", "", _COBALT),
    Name("smartsim.settings.Container", ours="smartml.experiment.schedulers.containers.Container"),
    *_kept("smartsim.settings.Container", "image args mount working_directory"),
    *_settings("containers", "Singularity", "smartsim.settings.Container"),
    *_same(
        "smartsim.settings.settings",
        "smartml.experiment.schedulers.launchers",
        "",
        create_run_settings=_RUN,
        create_batch_settings=_BATCH,
    ),
]

# Launchers and run commands that are not there, wherever they are asked for.
_LAUNCHERS = [
    _missing(f"{call}={launcher!r})", "", reason)
    for call in (
        "smartsim.Experiment(launcher",
        f"{_DATABASE}(launcher",
        "smartsim.settings.settings.create_run_settings(launcher",
        "smartsim.settings.settings.create_batch_settings(launcher",
        "smartsim.Experiment.create_run_settings(run_command",
    )
    for launcher, reason in (("dragon", _DRAGON), ("cobalt", _COBALT))
]

_STATUSES = (
    "STATUS_NEVER_STARTED STATUS_NEW STATUS_QUEUED STATUS_RUNNING STATUS_PAUSED STATUS_COMPLETED STATUS_FAILED "
    "STATUS_CANCELLED"
)
_STATES = [
    Name("smartsim.status.SmartSimStatus", ours="smartml.experiment.states.Status"),
    *_same(
        "smartsim.status.SmartSimStatus",
        "smartml.experiment.states.Status",
        _STATUSES,
    ),
    _better(
        "smartsim.status.TERMINAL_STATUSES", "smartml.experiment.states.Status.is_terminal", "each status can be asked"
    ),
    *_same(
        "smartsim.status",
        "smartml.experiment.states.Status",
        _STATUSES,
    ),
    *_kept("smartsim.servertype", "CLUSTERED STANDALONE"),
]

_ERRORS = [
    Name(f"smartsim.error.{theirs}", ours=f"smartml.errors.{ours}")
    for theirs, ours in {
        "SmartSimError": "SmartMLError",
        "EntityExistsError": "DuplicateNameError",
        "UserStrategyError": "StrategyError",
        "ParameterWriterError": "PlacementError",
        "SSReservedKeywordError": "ArgumentValueError",
        "SSDBIDConflictError": "DuplicateNameError",
        "SSDBFilesNotParseable": "ServerStartError",
        "SmartSimCLIActionCancelled": "SmartMLError",
        "SSUnsupportedError": "UnsupportedError",
        "PreviewFormatError": "ArgumentValueError",
        "SSInternalError": "SmartMLError",
        "SSConfigError": "ArgumentValueError",
        "LauncherError": "LaunchError",
        "LauncherUnsupportedFeature": "UnsupportedError",
        "AllocationError": "AllocationError",
        "ShellError": "SchedulerError",
        "TelemetryError": "MonitorError",
        "UnproxyableStepError": "MonitorError",
    }.items()
]

_LOGS = [
    _better("smartsim.log", "logging", _LOGGING),
    _better("smartsim.log.get_logger", "logging.getLogger", _LOGGING),
    _better("smartsim.log.log_to_file", "logging.FileHandler", _LOGGING),
    *(
        _better(f"smartsim.log.{name}", "logging", _LOGGING)
        for name in (
            *("log_to_exp_file", "method_contextualizer", "ctx_exp_path", "get_exp_log_paths", "ContextThread"),
            *("ContextInjectingLogFilter", "ContextAwareLogger", "HostnameFilter", "LowPassFilter"),
        )
    ),
]

_ALLOCATIONS = "smartml.experiment.allocations"
_MACHINES = [
    Name("smartsim.wlm.detect_launcher", ours="smartml.experiment.schedulers.launchers.detect_launcher"),
    *_same("smartsim.wlm", _ALLOCATIONS, "get_hosts get_queue get_tasks get_tasks_per_node"),
    *_same(
        "smartsim.wlm.slurm",
        _ALLOCATIONS,
        "get_allocation release_allocation validate get_default_partition get_hosts get_queue get_tasks "
        "get_tasks_per_node",
    ),
    *_same("smartsim.wlm.pbs", _ALLOCATIONS, "get_hosts get_queue get_tasks get_tasks_per_node"),
]

_FEED = "samples targets num_classes autoencoding need_targets"
_MANUAL = "one feed reads this scheme, too: DataDownloader(KeyScheme(…)), smartml.feeds.schemes"
_LEARNING = [
    Name("smartsim.ml.DataInfo", ours="smartml.feeds.DataInfo"),
    *_same("smartsim.ml.DataInfo", "smartml.feeds.DataInfo", "publish download"),
    *_kept("smartsim.ml.DataInfo", "list_name sample_name target_name num_classes"),
    Name("smartsim.ml.TrainingDataUploader", ours="smartml.feeds.TrainingDataUploader"),
    *_same(
        "smartsim.ml.TrainingDataUploader",
        "smartml.feeds.TrainingDataUploader",
        "publish_info put_batch list_name sample_name target_name num_classes",
    ),
    *_kept("smartsim.ml.TrainingDataUploader", "batch_idx rank"),
    *_kept("smartsim.ml.TrainingDataUploader", "client", gives=_CLIENT),
    Name(_DOWNLOADER, ours="smartml.feeds.DataDownloader"),
    *_same(_DOWNLOADER, "smartml.feeds.DataDownloader", f"init_samples update_data {_FEED}"),
    *_kept(
        _DOWNLOADER,
        "num_samples shuffle dynamic batch_size address cluster verbose uploader_keys "
        "replica_rank num_replicas list_name sample_name target_name set_replica_parameters log",
    ),
    *_kept(_DOWNLOADER, "client", gives=_CLIENT),
    *(
        _missing(f"{_DOWNLOADER}.{name}", "", "a feed keeps no such list; state_dict says where it is")
        for name in ("indices", "next_indices")
    ),
    *(
        _better(
            f"{_DOWNLOADER}({name})",
            "smartml.feeds.DataDownloader",
            "wait_timeout_s says how long to wait for the first samples; the error then says what is there",
        )
        for name in ("max_fetch_trials", "wait_interval")
    ),
    _better("smartsim.ml.form_name", "'_'.join", "a name is a str, whatever its parts"),
    _better("smartsim.ml.StaticDataDownloader", "smartml.feeds.DataDownloader", _MANUAL, parent=_DOWNLOADER),
    _better("smartsim.ml.DynamicDataDownloader", "smartml.feeds.DataDownloader", _MANUAL, parent=_DOWNLOADER),
    Name("smartsim.ml.tf.StaticDataGenerator", ours="smartml.feeds.keras.StaticDataGenerator", parent=_DOWNLOADER),
    Name("smartsim.ml.tf.DynamicDataGenerator", ours="smartml.feeds.keras.DynamicDataGenerator", parent=_DOWNLOADER),
    *_kept("smartsim.ml.tf.StaticDataGenerator", "on_epoch_end"),
    *_kept("smartsim.ml.tf.DynamicDataGenerator", "on_epoch_end"),
    *_kept("smartsim.ml.tf", "freeze_model serialize_model"),
    Name("smartsim.ml.torch.StaticDataGenerator", ours="smartml.feeds.torch.StaticDataGenerator", parent=_DOWNLOADER),
    Name("smartsim.ml.torch.DynamicDataGenerator", ours="smartml.feeds.torch.DynamicDataGenerator", parent=_DOWNLOADER),
    Name("smartsim.ml.torch.DataLoader", ours="smartml.feeds.torch.DataLoader"),
]

_MODELS_AND_SCRIPTS = (
    "set_model set_model_from_file set_model_multigpu set_model_from_file_multigpu get_model delete_model "
    "delete_model_multigpu run_model run_model_multigpu model_exists poll_model set_script set_script_from_file "
    "set_script_multigpu set_script_from_file_multigpu get_script delete_script delete_script_multigpu run_script "
    "run_script_multigpu"
)
_CLIENTS = [
    Name(_CLIENT, ours="smartml.Client", parent="smartredis.SRObject"),
    *_same(
        _CLIENT,
        "smartml.Client",
        "put_tensor get_tensor delete_tensor copy_tensor rename_tensor tensor_exists dataset_exists key_exists "
        "poll_tensor poll_dataset poll_key put_dataset delete_dataset copy_dataset rename_dataset append_to_list "
        "delete_list copy_list rename_list get_list_length poll_list_length poll_list_length_gte poll_list_length_lte "
        "set_data_source use_tensor_ensemble_prefix use_dataset_ensemble_prefix use_list_ensemble_prefix "
        "get_db_node_info get_db_cluster_info flush_db save config_get config_set set_model_chunk_size "
        f"{_MODELS_AND_SCRIPTS} set_function set_function_multigpu use_model_ensemble_prefix",
        get_dataset=_DATASET,
        get_datasets_from_list=f"[{_DATASET}]",
        get_dataset_list_range=f"[{_DATASET}]",
    ),
    _missing(
        f"{_CLIENT}.get_ai_info",
        "smartml.Client.get_db_node_info",
        "there is no RedisAI in the database; SmartRedis's own client gets what the tensor module counts",
    ),
    Name(_DATASET, ours="smartml.Dataset", parent="smartredis.SRObject"),
    *_same(
        _DATASET,
        "smartml.Dataset",
        "add_tensor get_tensor get_tensor_names get_tensor_dims get_tensor_type add_meta_scalar add_meta_string "
        "get_meta_scalars get_meta_strings get_metadata_field_names get_metadata_field_type get_name",
    ),
    _better(f"{_DATASET}.from_pybind", "", "what lists give are datasets already", gives=_DATASET),
    _better(f"{_DATASET}.get_data", "", "there is no object beneath a dataset here"),
    _better(f"{_DATASET}.set_data", "", "there is no object beneath a dataset here"),
    _better(
        "smartredis.ConfigOptions", "smartml.Client", "Client(db_identifier=…) reads the variables of that database"
    ),
    *_kept("smartredis.ConfigOptions", "create_from_environment", gives="smartredis.ConfigOptions"),
    *_kept(
        "smartredis.ConfigOptions",
        "get_integer_option get_string_option is_configured override_integer_option override_string_option "
        "get_data set_configoptions from_pybind",
    ),
    *_kept("smartredis", "SRObject LLQuiet LLInfo LLDebug LLDeveloper"),
    *_kept("smartredis.SRObject", "log_data log_warning log_error"),
    _better("smartredis.LogContext", "logging.getLogger", _LOGGING, parent="smartredis.SRObject"),
    *(_better(f"smartredis.{name}", "logging", _LOGGING) for name in ("log_data", "log_warning", "log_error")),
    _better(
        "smartredis.DatasetConverter",
        "smartml.store.xarray",
        "it keeps every coordinate and attribute, and gives one xarray.Dataset",
    ),
    *_kept("smartredis.DatasetConverter", "add_metadata_for_xarray transform_to_xarray"),
    *(
        Name(f"smartredis.error.{theirs}", ours=f"smartml.errors.{ours}")
        for theirs, ours in {
            "RedisConnectionError": "StoreConnectionError",
            "RedisReplyError": "StoreError",
            "RedisRuntimeError": "StoreReplyError",
            "RedisKeyError": "NotFoundError",
            "RedisDatabaseError": "StoreConnectionError",
            "RedisInternalError": "StoreError",
            "RedisTimeoutError": "StoreTimeoutError",
            "RedisBadAllocError": "StoreFullError",
        }.items()
    ),
    _missing("smartredis.smartredisPy", "", "the extension beneath SmartRedis's Python classes: use those"),
]

# What stands in C, C++ and Fortran sources, and in their build files.
_LIBRARY = [
    Name("SmartRedis library", ours="the tensor module (smartml module build)"),
    *_kept(
        "SmartRedis library",
        # Of the client; `unpack_` and `initialize` are not in Python.
        "put_tensor get_tensor unpack_tensor delete_tensor copy_tensor rename_tensor tensor_exists dataset_exists "
        "key_exists poll_tensor poll_dataset poll_key put_dataset get_dataset delete_dataset copy_dataset "
        "rename_dataset append_to_list delete_list copy_list rename_list get_list_length poll_list_length "
        "poll_list_length_gte poll_list_length_lte get_datasets_from_list get_datasets_from_list_range "
        "get_dataset_list_range set_data_source use_tensor_ensemble_prefix use_dataset_ensemble_prefix "
        "use_list_ensemble_prefix use_model_ensemble_prefix get_db_node_info get_db_cluster_info get_ai_info "
        "flush_db config_get config_set set_model_chunk_size SR_error_parser "
        f"{_MODELS_AND_SCRIPTS} "
        # Of the C interface.
        "SmartRedisCClient SimpleCreateClient CreateClient DeleteCClient CDataSet DeallocateDataSet "
        # Of a dataset.
        "add_tensor unpack_dataset_tensor get_dataset_tensor add_meta_scalar add_meta_string get_meta_scalars "
        "get_meta_strings get_metadata_field_names get_metadata_field_type get_tensor_names get_tensor_dims "
        "get_tensor_type",
    ),
]

_GRAPHS = "RedisAI's graphs of several calls: SmartRedis does not use them, and smartml has none"
_COMMANDS = [
    *_kept(
        "AI",
        "TENSORSET TENSORGET INFO CONFIG MODELSTORE MODELSET MODELGET MODELDEL MODELEXECUTE MODELRUN SCRIPTSTORE "
        "SCRIPTSET SCRIPTGET SCRIPTDEL SCRIPTEXECUTE SCRIPTRUN",
    ),
    *(_missing(f"AI.{command}", "", _GRAPHS) for command in ("DAGRUN", "DAGRUN_RO", "DAGEXECUTE", "DAGEXECUTE_RO")),
]

# What requirements name.
_PACKAGES = [
    _better("the package smartsim", "smartml", "it brings all of it, for Python 3.10 to 3.13"),
    _better(
        "the package smartredis", "smartml", "SmartRedis has no wheels for Python 3.12 and later; both read the same"
    ),
    _missing("the package redisai", "smartml.Client", "RedisAI's own client; smartml's puts and gets the same tensors"),
    _missing("the package smartdashboard", "smartml watch", "smartml serves the page of a run itself"),
    _missing("the package dragonhpc", "", _DRAGON),
]

_NO_SMART = "there is no command of that name; an alias for smartml compat smart does, too"
_SHELL = [
    *(
        _missing(f"smart {command}", f"smartml compat smart {command}", _NO_SMART)
        for command in ("build", "clean", "clobber", "dbcli", "info", "site", "validate")
    ),
    _missing("smart teardown", "", _DRAGON),
    _missing("smart dashboard", "smartml watch", "smartml serves the page of a run itself"),
]

_NOT_READ = "smartml does not read this variable"
_VARIABLES = [
    _better("REDIS_PATH", "SMARTML_REDIS_SERVER", _NOT_READ),
    _better("RAI_PATH", "SMARTML_TENSOR_MODULE", _NOT_READ),
    _better("REDIS_CONF", "smartml.Orchestrator.set_db_conf", _NOT_READ),
    _better("REDIS_CLI_PATH", "", _NOT_READ),
    _better("SMARTSIM_LOG_LEVEL", "logging", _NOT_READ),
    _better("SMARTSIM_JM_INTERVAL", "SMARTML_QUERY_INTERVAL_S", _NOT_READ),
    _better("SMARTSIM_DEP_INSTALL_PATH", "", _NOT_READ),
    _better("SMARTSIM_FLAG_TELEMETRY", _START, _RECORDS),
    _better("SMARTSIM_TELEMETRY_FREQUENCY", _START, _RECORDS),
    _better("SMARTSIM_TELEMETRY_COOLDOWN", _START, _RECORDS),
]

NAMES = {
    name.theirs: name
    for name in (
        *_MODULE_NAMES,
        *_EXPERIMENTS,
        *_ENTITIES,
        *_DATABASES,
        *_SETTINGS,
        *_LAUNCHERS,
        *_STATES,
        *_ERRORS,
        *_LOGS,
        *_MACHINES,
        *_LEARNING,
        *_CLIENTS,
        *_LIBRARY,
        *_COMMANDS,
        *_PACKAGES,
        *_SHELL,
        *_VARIABLES,
    )
}

# Modules that are not where the documentation imports from, by the one that is.
HOMES = {
    "smartsim.experiment": "smartsim",
    "smartsim.database.orchestrator": "smartsim.database",
    "smartsim.error.errors": "smartsim.error",
    "smartsim.ml.data": "smartsim.ml",
    "smartsim.ml.tf.data": "smartsim.ml.tf",
    "smartsim.ml.tf.utils": "smartsim.ml.tf",
    "smartsim.ml.torch.data": "smartsim.ml.torch",
    "smartsim.tf": "smartsim.ml.tf",
    "smartsim.slurm": "smartsim.wlm.slurm",
    **dict.fromkeys(
        (
            *("smartsim.entity.model", "smartsim.entity.ensemble", "smartsim.entity.dbnode"),
            *("smartsim.entity.dbobject", "smartsim.entity.entity", "smartsim.entity.entityList"),
            "smartsim.entity.files",
        ),
        "smartsim.entity",
    ),
    **dict.fromkeys(
        (
            *("smartsim.settings.slurmSettings", "smartsim.settings.mpiSettings", "smartsim.settings.palsSettings"),
            *("smartsim.settings.pbsSettings", "smartsim.settings.lsfSettings", "smartsim.settings.sgeSettings"),
            *("smartsim.settings.alpsSettings", "smartsim.settings.dragonRunSettings"),
            *("smartsim.settings.containers", "smartsim.settings.base", "smartsim.settings.settings"),
        ),
        "smartsim.settings",
    ),
    **dict.fromkeys(("smartredis.client", "smartredis.dataset", "smartredis.configoptions"), "smartredis"),
    **dict.fromkeys(("smartredis.logger", "smartredis.logcontext", "smartredis.srobject"), "smartredis"),
    "smartredis.dataset_utils": "smartredis",
    "smartredis.util": "smartredis",
}

# Names that are documented in a module of their own, and imported from the package as well.
AT_HOME = {"smartsim.settings.BatchSettings": _BATCH} | {
    f"smartsim.settings.{name}": f"smartsim.settings.settings.{name}"
    for name in ("create_run_settings", "create_batch_settings")
}
