"""ALPS: `aprun` command lines, word for word."""

import pytest

from smartml.errors import UnsupportedError
from smartml.experiment.schedulers.alps import AprunSettings
from smartml.experiment.schedulers.containers import Singularity


def test_all_settings_stand_in_one_line(place, words):
    settings = AprunSettings("echo", ["hi there", "b"], env_vars={"A": 1, "B": "x,y", "N": None})
    settings.set_tasks(4)
    settings.set_tasks_per_node(2)
    settings.set_hostlist(["1", "2"])
    settings.set_excluded_hosts("3")
    settings.set_cpu_bindings([0, 1])
    settings.set_verbose_launch(True)
    settings.set_walltime("10")
    settings.set("q")
    # SmartSim adds `-e N=None`, which hides the caller's value.
    assert words(settings.command(place)) == (
        "aprun --wdir /cwd -e A=1 -e B=x,y --pes=4 --pes-per-node=2 --node-list=1,2 --exclude-node-list=3 "
        "--cpu-binding=0,1 --debug=7 --cpu-time-limit=10 -q echo hi there b"
    )


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_cpus_per_task", (3,), "--cpus-per-pe=3"),
        ("set_hostlist_from_file", ("hosts",), "--node-list-file=hosts"),
        ("set_memory_per_node", (10,), "--memory-per-pe=10"),
        ("set_quiet_launch", (True,), "--quiet"),
        ("set_verbose_launch", (False,), ""),
        ("set_time", (0, 1), "--cpu-time-limit=60"),
        ("set", ("wdir", "/x"), ""),
        ("set_nodes", (2,), ""),
    ],
)
def test_each_setter_sets_its_option(setter, arguments, expected):
    settings = AprunSettings("echo")
    getattr(settings, setter)(*arguments)
    assert " ".join(settings.format_run_args()) == expected


def test_several_programs_share_a_command(place, words):
    settings = AprunSettings("echo", "a", run_args={"pes": 1})
    settings.make_mpmd(AprunSettings("sleep", "1", run_args={"pes": 2}, env_vars={"Q": 1}))
    assert words(settings.command(place)) == "aprun --wdir /cwd --pes=1 echo a : --pes=2 env Q=1 sleep 1"
    with pytest.raises(UnsupportedError, match="containers"):
        settings.make_mpmd(AprunSettings("echo", container=Singularity("image.sif")))
