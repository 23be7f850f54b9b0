"""Signatures: what programs may pass, at which place, under which name, and what they leave out."""

import inspect
import json
from importlib.util import find_spec

import pytest

# By class or module: the parameters of its functions as they stand in SmartSim 0.8.
SIGNATURES = {
    "smartsim.Experiment": {
        "__init__": 'name, exp_path=None, launcher="local"',
        "start": "*args, block=True, summary=False, kill_on_interrupt=True, monitor=True",
        "stop": "*args",
        "generate": "*args, tag=None, overwrite=False, verbose=False",
        "poll": "interval=10, verbose=True, kill_on_interrupt=True",
        "finished": "entity",
        "get_status": "*args",
        "create_model": "name, run_settings, params=None, path=None, enable_key_prefixing=False, batch_settings=None",
        "create_ensemble": "name, params=None, batch_settings=None, run_settings=None, replicas=None, "
        'perm_strategy="all_perm", path=None, **kwargs',
        "create_run_settings": 'exe, exe_args=None, run_command="auto", run_args=None, env_vars=None, container=None, '
        "**kwargs",
        "create_batch_settings": 'nodes=1, time="", queue="", account="", batch_args=None, **kwargs',
        "create_database": 'port=6379, path=None, db_nodes=1, batch=False, hosts=None, run_command="auto", '
        'interface="ipogif0", account=None, time=None, queue=None, single_cmd=True, db_identifier="orchestrator", '
        "**kwargs",
        "reconnect_orchestrator": "checkpoint",
        "preview": '*args, verbosity_level="info", output_format="plain_text", output_filename=None',
        "summary": 'style="github"',
    },
    "smartsim.entity.Model": {
        "__init__": "name, params, run_settings, path=None, params_as_args=None, batch_settings=None",
        "params_to_args": "",
        "register_incoming_entity": "incoming_entity",
        "enable_key_prefixing": "",
        "disable_key_prefixing": "",
        "query_key_prefixing": "",
        "attach_generator_files": "to_copy=None, to_symlink=None, to_configure=None",
        "print_attached_files": "",
        "set_path": "path",
        "colocate_db": "*args, **kwargs",
        "colocate_db_tcp": 'port=6379, ifname="lo", db_cpus=1, custom_pinning=None, debug=False, db_identifier="", '
        "**kwargs",
        "colocate_db_uds": 'unix_socket="/tmp/redis.socket", socket_permissions=755, db_cpus=1, custom_pinning=None, '
        'debug=False, db_identifier="", **kwargs',
        "add_ml_model": 'name, backend, model=None, model_path=None, device="CPU", devices_per_node=1, first_device=0, '
        'batch_size=0, min_batch_size=0, min_batch_timeout=0, tag="", inputs=None, outputs=None',
        "add_script": 'name, script=None, script_path=None, device="CPU", devices_per_node=1, first_device=0',
        "add_function": 'name, function=None, device="CPU", devices_per_node=1, first_device=0',
    },
    "smartsim.entity.Ensemble": {
        "__init__": "name, params, path=None, params_as_args=None, batch_settings=None, run_settings=None, "
        'perm_strat="all_perm", **kwargs',
        "add_model": "model",
        "register_incoming_entity": "incoming_entity",
        "enable_key_prefixing": "",
        "query_key_prefixing": "",
        "attach_generator_files": "to_copy=None, to_symlink=None, to_configure=None",
        "set_path": "new_path",
    },
    "smartsim.database.Orchestrator": {
        "__init__": 'path=None, port=6379, interface="lo", launcher="local", run_command="auto", db_nodes=1, '
        "batch=False, hosts=None, account=None, time=None, alloc=None, single_cmd=False, *, threads_per_queue=None, "
        'inter_op_threads=None, intra_op_threads=None, db_identifier="orchestrator", **kwargs',
        "get_address": "",
        "is_active": "",
        "set_cpus": "num_cpus",
        "set_walltime": "walltime",
        "set_hosts": "host_list",
        "set_batch_arg": "arg, value=None",
        "set_run_arg": "arg, value=None",
        "reset_hosts": "",
        "remove_stale_files": "",
        "enable_checkpoints": "frequency",
        "set_max_memory": "memory",
        "set_eviction_strategy": "strategy",
        "set_max_clients": "clients=50_000",
        "set_max_message_size": "size=1_073_741_824",
        "set_db_conf": "key, value",
    },
    "smartsim.settings.RunSettings": {
        "__init__": 'exe, exe_args=None, run_command="", run_args=None, env_vars=None, container=None',
        "add_exe_args": "args",
        "update_env": "env_vars",
        "set": "arg, value=None, condition=True",
        "set_time": "hours=0, minutes=0, seconds=0",
        "format_run_args": "",
        "format_env_vars": "",
    },
    "smartsim.settings.SrunSettings": {"__init__": "exe, exe_args=None, run_args=None, env_vars=None, alloc=None"},
    "smartsim.settings.MpirunSettings": {
        "__init__": "exe, exe_args=None, run_args=None, env_vars=None, fail_if_missing_exec=True"
    },
    "smartsim.settings.AprunSettings": {"__init__": "exe, exe_args=None, run_args=None, env_vars=None"},
    "smartsim.settings.JsrunSettings": {"__init__": "exe, exe_args=None, run_args=None, env_vars=None"},
    "smartsim.settings.SbatchSettings": {"__init__": 'nodes=None, time="", account=None, batch_args=None'},
    "smartsim.settings.QsubBatchSettings": {
        "__init__": "nodes=None, ncpus=None, time=None, queue=None, account=None, resources=None, batch_args=None"
    },
    "smartsim.settings.BsubBatchSettings": {"__init__": "nodes=None, time=None, project=None, batch_args=None, smts=0"},
    "smartsim.settings.SgeQsubBatchSettings": {
        "__init__": 'time=None, ncpus=None, pe_type=None, account=None, shebang="#!/bin/bash -l", resources=None, '
        "batch_args=None"
    },
    "smartsim.settings.Singularity": {"__init__": 'image, args="", mount="", working_directory=""'},
    "smartsim.log": {
        "get_logger": "name, log_level=None, fmt=None",
        "log_to_file": 'filename, log_level="debug"',
    },
    "smartsim.wlm": {"detect_launcher": "", "get_hosts": "launcher=None", "get_queue": "launcher=None"},
    "smartsim.wlm.slurm": {
        "get_allocation": "nodes=1, time=None, account=None, options=None",
        "release_allocation": "alloc_id",
        "validate": "nodes=1, ppn=1, partition=None",
        "get_default_partition": "",
        "get_hosts": "",
    },
    "smartsim.ml.DataInfo": {
        "__init__": 'list_name, sample_name="samples", target_name="targets", num_classes=None',
        "publish": "client",
        "download": "client",
    },
    "smartsim.ml.TrainingDataUploader": {
        "__init__": 'list_name="training_data", sample_name="samples", target_name="targets", num_classes=None, '
        "cluster=True, address=None, rank=None, verbose=False",
        "publish_info": "",
        "put_batch": "samples, targets=None",
    },
    "smartsim.ml.DataDownloader": {
        "__init__": "data_info_or_list_name, batch_size=32, dynamic=True, shuffle=True, cluster=True, address=None, "
        "replica_rank=0, num_replicas=1, verbose=False, init_samples=True, max_fetch_trials=-1, wait_interval=10.0",
        "init_samples": "init_trials=-1, wait_interval=10.0",
        "update_data": "",
        "set_replica_parameters": "replica_rank, num_replicas",
    },
    "smartsim.ml.StaticDataDownloader": {
        "__init__": 'batch_size=32, shuffle=True, uploader_info="auto", uploader_name="training_data", '
        'sample_prefix="samples", target_prefix="targets", uploader_ranks=None, num_classes=None, '
        "producer_prefixes=None, cluster=True, address=None, replica_rank=0, num_replicas=1, verbose=False, "
        "init_samples=True, **kwargs",
    },
    "smartredis.ConfigOptions": {
        "create_from_environment": "db_suffix",
        "get_integer_option": "option_name",
        "get_string_option": "option_name",
        "is_configured": "option_name",
        "override_integer_option": "option_name, value",
        "override_string_option": "option_name, value",
    },
    "smartredis.LogContext": {"__init__": "context", "log_data": "level, data", "log_error": "level, data"},
    "smartredis": {"log_data": "context, level, data", "log_warning": "context, level, data"},
}

SHOWN = """
import importlib, inspect, json, sys
def found(path):
    try:
        return importlib.import_module(path)
    except ImportError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)
def shown(owner, function):
    return [[one.name, one.kind.name, repr(one.default)]
            for one in inspect.signature(getattr(owner, function)).parameters.values() if one.name != "self"]
wanted = json.loads(sys.argv[1])
print(json.dumps({path: {name: shown(found(path), name) for name in names if hasattr(found(path), name)}
                  for path, names in wanted.items()}))
"""

OPEN = ("VAR_POSITIONAL", "VAR_KEYWORD")


def parameters(text):
    """The parameters of a signature that is written down."""
    signature = inspect.signature(eval(f"lambda {text}: None", {}))
    return [[one.name, one.kind.name, repr(one.default)] for one in signature.parameters.values()]


def differences(wanted, found):
    """What a caller of the wanted signature would notice."""
    place = {name: index for index, (name, kind, _) in enumerate(found) if kind not in OPEN}
    kinds = {kind for _, kind, _ in found}
    for index, (name, kind, default) in enumerate(wanted):
        if kind in OPEN:
            if kind not in kinds:
                yield f"takes no {kind}"
        elif name not in place:
            yield f"has no {name}"
        elif kind != "KEYWORD_ONLY" and (place[name] != index or found[index][1] != kind):
            yield f"{name} stands elsewhere"
        elif default not in (found[place[name]][2], repr(inspect.Parameter.empty)):
            yield f"{name} is {found[place[name]][2]} by default, not {default}"
    names = {name for name, _, _ in wanted}
    yield from (
        f"needs {name}"
        for name, kind, default in found
        if kind not in OPEN and name not in names and default == repr(inspect.Parameter.empty)
    )


def test_parameters_stand_where_they_stood_with_the_same_names_and_defaults(program):
    names = {path: list(functions) for path, functions in SIGNATURES.items()}
    [line] = program(SHOWN, json.dumps(names), flags=["--no-real-smartredis"])
    found = json.loads(line)

    for path, functions in SIGNATURES.items():
        for name, text in functions.items():
            assert name in found[path], f"{path} has no {name}"
            assert list(differences(parameters(text), found[path][name])) == [], f"{path}.{name}"


@pytest.mark.skipif(
    find_spec("smartredis") is None, reason="needs SmartRedis (pip install smartredis, up to Python 3.11)"
)
def test_smartrediss_own_signatures_are_kept(program):
    kinds = ("Client", "Dataset", "ConfigOptions", "LogContext", "DatasetConverter")
    listed = f"import smartredis; print([[n for n in dir(getattr(smartredis, k)) if n[0] != '_'] for k in {kinds}])"
    [names] = program(listed, flags=["--real-smartredis"])
    wanted = {f"smartredis.{kind}": names for kind, names in zip(kinds, eval(names), strict=True)}
    real, ours = (
        json.loads(program(SHOWN, json.dumps(wanted), flags=[flag])[0])
        for flag in ("--real-smartredis", "--no-real-smartredis")
    )
    for path, functions in real.items():
        for name, wanted_here in functions.items():
            assert name in ours[path], f"{path} has no {name}"
            assert list(differences(wanted_here, ours[path][name])) == [], f"{path}.{name}"
