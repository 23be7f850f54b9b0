"""Every path that programs import from, and every name that they find there."""

import json

import pytest

# The import map of SmartSim 0.8, then the deep paths and older names that are seen in programs.
SMARTSIM = {
    "smartsim": "Experiment __version__",
    "smartsim.database": "Orchestrator",
    "smartsim.entity": "Model Ensemble DBNode DBObject DBModel DBScript SmartSimEntity EntityList EntitySequence "
    "TaggedFilesHierarchy TelemetryConfiguration",
    "smartsim.settings": "RunSettings SettingsBase MpirunSettings MpiexecSettings OrterunSettings SrunSettings "
    "AprunSettings JsrunSettings PalsMpiexecSettings DragonRunSettings SbatchSettings QsubBatchSettings "
    "BsubBatchSettings SgeQsubBatchSettings Container Singularity",
    "smartsim.settings.base": "RunSettings SettingsBase BatchSettings",
    "smartsim.settings.settings": "create_run_settings create_batch_settings",
    "smartsim.status": "SmartSimStatus TERMINAL_STATUSES STATUS_COMPLETED STATUS_NEVER_STARTED",
    "smartsim.servertype": "CLUSTERED STANDALONE",
    "smartsim.error": "SmartSimError EntityExistsError UserStrategyError ParameterWriterError SSReservedKeywordError "
    "SSDBIDConflictError SSDBFilesNotParseable SmartSimCLIActionCancelled SSUnsupportedError PreviewFormatError "
    "SSInternalError SSConfigError LauncherError LauncherUnsupportedFeature AllocationError ShellError TelemetryError "
    "UnproxyableStepError",
    "smartsim.log": "get_logger log_to_file log_to_exp_file method_contextualizer ctx_exp_path ContextThread "
    "ContextInjectingLogFilter HostnameFilter LowPassFilter ContextAwareLogger get_exp_log_paths",
    "smartsim.wlm": "detect_launcher get_hosts get_queue get_tasks get_tasks_per_node slurm pbs",
    "smartsim.wlm.slurm": "get_allocation release_allocation validate get_default_partition get_hosts get_queue "
    "get_tasks get_tasks_per_node",
    "smartsim.wlm.pbs": "get_hosts get_queue get_tasks get_tasks_per_node",
    "smartsim.ml": "DataInfo TrainingDataUploader DataDownloader form_name StaticDataDownloader DynamicDataDownloader",
    "smartsim.experiment": "Experiment",
    "smartsim.ml.data": "DataInfo TrainingDataUploader DataDownloader form_name",
    "smartsim.error.errors": "SmartSimError SSUnsupportedError SSInternalError",
    "smartsim.database.orchestrator": "Orchestrator",
    "smartsim.entity.model": "Model",
    "smartsim.entity.ensemble": "Ensemble",
    "smartsim.entity.dbnode": "DBNode",
    "smartsim.entity.dbobject": "DBObject DBModel DBScript",
    "smartsim.entity.entity": "SmartSimEntity TelemetryConfiguration",
    "smartsim.entity.entityList": "EntityList EntitySequence",
    "smartsim.entity.files": "TaggedFilesHierarchy",
    "smartsim.entity.strategies": "create_all_permutations step_values random_permutations",
    "smartsim.settings.alpsSettings": "AprunSettings",
    "smartsim.settings.containers": "Container Singularity",
    "smartsim.settings.dragonRunSettings": "DragonRunSettings",
    "smartsim.settings.lsfSettings": "JsrunSettings BsubBatchSettings",
    "smartsim.settings.mpiSettings": "MpirunSettings MpiexecSettings OrterunSettings",
    "smartsim.settings.mpirunSettings": "MpirunSettings",
    "smartsim.settings.palsSettings": "PalsMpiexecSettings",
    "smartsim.settings.pbsSettings": "QsubBatchSettings",
    "smartsim.settings.sgeSettings": "SgeQsubBatchSettings",
    "smartsim.settings.slurmSettings": "SrunSettings SbatchSettings",
    "smartsim.slurm": "get_allocation release_allocation",
}

SMARTREDIS = {
    "smartredis": "Client ConfigOptions Dataset SRObject LogContext DatasetConverter log_data log_warning log_error "
    "LLQuiet LLInfo LLDebug LLDeveloper",
    "smartredis.client": "Client",
    "smartredis.configoptions": "ConfigOptions",
    "smartredis.dataset": "Dataset",
    "smartredis.dataset_utils": "DatasetConverter",
    "smartredis.error": "RedisConnectionError RedisReplyError RedisRuntimeError RedisKeyError RedisDatabaseError "
    "RedisInternalError RedisTimeoutError RedisBadAllocError",
    "smartredis.logcontext": "LogContext",
    "smartredis.logger": "log_data log_warning log_error",
    "smartredis.smartredisPy": "PyDataset LLInfo RedisReplyError",
    "smartredis.srobject": "SRObject",
    "smartredis.util": "Dtypes init_default typecheck exception_handler",
}

MISSING = """
import importlib, json, sys
missing = []
for path, names in json.loads(sys.argv[1]).items():
    module = importlib.import_module(path)
    missing += [f"{path}.{name}" for name in names.split() if not hasattr(module, name)]
    missing += [f"{path}.{name}, of __all__" for name in getattr(module, "__all__", []) if not hasattr(module, name)]
print(json.dumps(missing))
"""

TREE = """
import json, smartsim.error, smartredis.error
def tree(kind, package):
    return {sub.__name__: tree(sub, package) for sub in kind.__subclasses__() if sub.__module__.startswith(package)}
print(json.dumps([tree(Exception, "smartsim"), tree(RuntimeError, "smartredis")]))
"""


@pytest.mark.parametrize("names", [SMARTSIM, SMARTREDIS], ids=["smartsim", "smartredis"])
def test_every_path_has_its_names(program, names):
    [missing] = program(MISSING, json.dumps(names), flags=["--no-real-smartredis"])
    assert json.loads(missing) == []


def test_without_a_framework_its_loaders_are_not_found(program):
    [line] = program(
        """
        import sys
        for name in ("torch", "keras", "tensorflow"):
            sys.modules[name] = None
        for module in ("tf", "torch"):
            try:
                __import__(f"smartsim.ml.{module}")
            except ModuleNotFoundError as error:
                print("not found", end=" ")
        """
    )
    assert line == "not found not found "


def test_the_errors_are_the_trees_of_both_packages(program):
    [line] = program(TREE, flags=["--no-real-smartredis"])
    smartsim, smartredis = json.loads(line)
    assert smartsim == {
        "SmartSimError": {
            "EntityExistsError": {},
            "UserStrategyError": {},
            "ParameterWriterError": {},
            "SSReservedKeywordError": {},
            "SSDBIDConflictError": {},
            "SSDBFilesNotParseable": {},
            "SmartSimCLIActionCancelled": {},
        },
        "SSUnsupportedError": {"PreviewFormatError": {}},
        "SSInternalError": {
            "SSConfigError": {},
            "LauncherError": {"LauncherUnsupportedFeature": {}, "AllocationError": {}, "ShellError": {}},
            "TelemetryError": {"UnproxyableStepError": {}},
        },
    }
    replies = ("RedisRuntimeError", "RedisBadAllocError", "RedisDatabaseError", "RedisInternalError")
    replies = (*replies, "RedisTimeoutError", "RedisKeyError")
    assert smartredis == {"RedisConnectionError": {}, "RedisReplyError": {name: {} for name in replies}}


def test_states_are_an_enumeration_and_the_strings_of_before(program):
    lines = program(
        """
        from smartsim import status
        from smartsim.status import SmartSimStatus, TERMINAL_STATUSES
        print(SmartSimStatus.STATUS_COMPLETED.value, status.STATUS_COMPLETED == "Completed")
        print(sorted(one.value for one in TERMINAL_STATUSES))
        print([one.value for one in SmartSimStatus])
        """
    )
    assert lines == [
        "Completed True",
        "['Cancelled', 'Completed', 'Failed']",
        "['NeverStarted', 'New', 'Queued', 'Running', 'Paused', 'Completed', 'Failed', 'Cancelled']",
    ]
