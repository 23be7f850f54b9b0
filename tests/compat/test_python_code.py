"""What a Python source uses of SmartSim and SmartRedis, read from its text."""

import pytest

from smartml.compat.python_code import uses_in_python
from smartml.compat.table import Verdict


def read(source):
    """Return the names in a source by line."""
    found = {}
    for use in uses_in_python(source):
        found.setdefault(use.line, []).append(use.name.theirs)
    return found


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from smartsim import Experiment", "smartsim.Experiment"),
        ("from smartsim import Experiment as E", "smartsim.Experiment"),
        ("import smartsim", "smartsim"),
        ("from smartsim.experiment import Experiment", "smartsim.Experiment"),
        ("from smartsim.database.orchestrator import Orchestrator", "smartsim.database.Orchestrator"),
        ("from smartsim.settings.slurmSettings import SrunSettings", "smartsim.settings.SrunSettings"),
        ("from smartsim.settings.base import BatchSettings", "smartsim.settings.base.BatchSettings"),
        ("from smartsim.settings import create_run_settings", "smartsim.settings.settings.create_run_settings"),
        ("from smartsim.error.errors import SSUnsupportedError", "smartsim.error.SSUnsupportedError"),
        ("from smartsim.ml.data import DataInfo", "smartsim.ml.DataInfo"),
        ("from smartredis.client import Client", "smartredis.Client"),
        ("import smartsim.ml.data", "smartsim.ml"),
        ("import importlib; importlib.import_module('smartredis')", "smartredis"),
    ],
)
def test_an_import_is_found_under_the_documented_name(line, name):
    [use] = uses_in_python(line)
    assert (use.line, use.name.theirs, use.name.verdict) == (1, name, Verdict.UNCHANGED)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("import smartsim\nsmartsim.Experiment", "smartsim.Experiment"),
        ("import smartsim.settings as s\ns.RunSettings", "smartsim.settings.RunSettings"),
        ("import smartsim.ml.torch\nsmartsim.ml.torch.DataLoader", "smartsim.ml.torch.DataLoader"),
        ("from smartsim import Experiment\nExperiment('x').start", "smartsim.Experiment.start"),
        ("from smartsim import *\nExperiment('x').start", "smartsim.Experiment.start"),
        (
            "from smartsim import Experiment as E\nE('x').create_database().set_db_conf",
            "smartsim.database.Orchestrator.set_db_conf",
        ),
        (
            "from smartsim import status\nstatus.SmartSimStatus.STATUS_FAILED",
            "smartsim.status.SmartSimStatus.STATUS_FAILED",
        ),
        (
            "from smartsim.settings import SrunSettings\nSrunSettings('x').set_nodes",
            "smartsim.settings.RunSettings.set_nodes",
        ),
        (
            "from smartredis import ConfigOptions as C\nC.create_from_environment('a').is_configured",
            "smartredis.ConfigOptions.is_configured",
        ),
    ],
)
def test_an_attribute_is_found_with_its_class(lines, name):
    assert name in read(lines)[2]


PREAMBLE = (
    "from smartsim import Experiment\nfrom smartredis import Client\nexp, client = Experiment('x'), Client(False)\n"
)


@pytest.mark.parametrize(
    "use",
    [
        "client.get_tensor",
        "def f(c: Client): c.get_tensor",
        "def f(c: 'Client'): c.get_tensor",
        "def f(c: Client | None): c.get_tensor",
        "from typing import Optional\ndef f(c: Optional[Client]): c.get_tensor",
        "def f(several: list[Client]): several[0].get_tensor",
        "def f():\n  return Client(False)\nf().get_tensor",
        "def f() -> Client: ...\nf().get_tensor",
        "def f(): later.get_tensor\nlater = Client(False)",
        "with Client(False) as c: c.get_tensor",
        "for c in [Client(False), Client(False)]: c.get_tensor",
        "all = []\nall.append(client)\nall[0].get_tensor",
        "[c.get_tensor for c in (Client(True) for _ in '12')]",
        "(c := Client(False)).get_tensor\nc.get_tensor",
        "try:\n  c = Client()\nexcept Exception:\n  c = None\nc.get_tensor",
        "class A:\n  def g(self): self.c.get_tensor\n  def __init__(self): self.c = Client()",
        "class A:\n  def __init__(self, c: Client): self.c = c\n  async def g(self): await self.c.get_tensor()",
        "class Mine(Client):\n  def g(self): self.get_tensor",
        "class Mine(Client): ...\nMine().get_tensor",
        "f = lambda: client.get_tensor('x')",
        "import smartsim.ml as ml\nml.TrainingDataUploader().client.get_tensor",
    ],
)
def test_an_object_is_followed_through_the_text(use):
    assert "smartredis.Client.get_tensor" in [name for names in read(PREAMBLE + use).values() for name in names]


@pytest.mark.parametrize(
    "use",
    [
        "for m in exp.create_ensemble('e', replicas=2): m.params_to_args",
        "for i, m in enumerate(exp.create_ensemble('e', replicas=2).models): m.params_to_args",
        "for i, m in zip('ab', exp.create_ensemble('e', replicas=2)): m.params_to_args",
        "exp.create_ensemble('e', replicas=2)['e_0'].params_to_args",
        "models = [exp.create_model(name, None) for name in 'ab']\nmodels[1].params_to_args",
    ],
)
def test_members_of_ensembles_are_models(use):
    assert "smartsim.entity.Model.params_to_args" in [name for names in read(PREAMBLE + use).values() for name in names]


@pytest.mark.parametrize(
    "use",
    [
        "client = Other()\nclient.get_tensor",
        "other.get_tensor",
        "class Mine(Client):\n  def g(self): self.rows.get_tensor",
        "client.put_tensor.__name__",
        "from .smartredis import Client as C\nC().get_tensor",
        "import smartredist\nsmartredist.Client",
    ],
)
def test_what_is_not_plainly_of_theirs_is_left_out(use):
    names = [name for names in read(PREAMBLE + use).values() for name in names]
    assert not {"smartredis.Client.get_tensor", "smartredis.Client.rows", "smartredis.Client.__name__"} & set(names)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("Experiment('x', launcher='dragon')", "smartsim.Experiment(launcher='dragon')"),
        ("Experiment('x', launcher='Cobalt')", "smartsim.Experiment(launcher='cobalt')"),
        (
            "exp.create_run_settings('x', run_command='dragon')",
            "smartsim.Experiment.create_run_settings(run_command='dragon')",
        ),
    ],
)
def test_an_argument_that_nothing_answers_to_is_found(call, argument):
    [use] = [use for use in uses_in_python(PREAMBLE + call) if "(" in use.name.theirs]
    assert (use.line, use.name.theirs, use.name.verdict) == (4, argument, Verdict.MISSING)


def test_arguments_of_a_base_class_are_those_of_the_class():
    source = "from smartsim.ml.torch import DynamicDataGenerator\nDynamicDataGenerator(\n  max_fetch_trials=3)"
    assert read(source)[3] == ["smartsim.ml.DataDownloader(max_fetch_trials)"]


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ("from smartsim._core.config import CONFIG", "private"),
        ("exp._control", "private"),
        ("exp.lunch()", "no name that SmartSim 0.8"),
        ("import smartsim\nsmartsim.nothing", "no name that SmartSim 0.8"),
    ],
)
def test_what_nobody_documents_is_missing(use, reason):
    last = uses_in_python(PREAMBLE + use)[-1]
    assert last.name.verdict is Verdict.MISSING
    assert reason in last.name.reason


def test_commands_and_variables_in_strings_are_found():
    source = (
        "r.execute_command('AI.DAGRUN', 'LOAD')\nos.environ['RAI_PATH'] = 'x'\nr.execute_command('AI.TENSORGET t')\n"
    )
    assert read(source) == {1: ["AI.DAGRUN"], 2: ["RAI_PATH"], 3: ["AI.TENSORGET"]}


def test_a_use_is_told_once_for_each_line():
    assert [use.line for use in uses_in_python("import smartsim as s\ns.Experiment(s.Experiment)\ns.Experiment")] == [
        1,
        2,
        3,
    ]


def test_a_broken_source_is_an_error():
    with pytest.raises(SyntaxError):
        uses_in_python("print 'x'")
