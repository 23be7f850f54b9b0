"""A loop of PyTorch that logs itself."""

import pytest

from smartml.errors import ArgumentValueError
from smartml.monitor import DataLogger, script

torch = pytest.importorskip("torch", reason="the package 'torch' is not installed")


def test_a_training_loop_logs_each_step_by_hooks(server):
    from smartml.monitor.torch import log_training

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    criterion = torch.nn.MSELoss()
    x, y = torch.ones(4, 2), torch.zeros(4, 1)
    losses, norms = [], []
    with DataLogger("run", grpc_uri=server.address) as log:
        hooks = log_training(log, optimizer, loss=criterion)
        for _ in range(4):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            losses.append(loss.item())
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item())
            optimizer.step()
            optimizer.param_groups[0]["lr"] /= 2
        hooks.remove()
        criterion(model(x), y)
        optimizer.step()

    found = {name: fields for (_, name, _), fields in script.export(server.address).items()}
    assert found["train/loss"]["x"].tolist() == [0, 1, 2, 3]
    assert found["train/loss"]["y"].tolist() == losses
    assert found["train/learning_rate"]["y"].tolist() == [0.5, 0.25, 0.125, 0.0625]
    assert found["train/gradient_norm"]["y"].tolist() == pytest.approx(norms, rel=1e-6)


def test_only_some_steps_of_training_are_logged_when_told_so(server):
    from smartml.monitor.torch import log_training

    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    criterion = torch.nn.L1Loss()
    with DataLogger("run", grpc_uri=server.address) as log:
        log_training(log, optimizer, criterion, name="fine", every=3)
        for _ in range(7):
            criterion(weight, torch.zeros(1)).backward()
            optimizer.step()
            criterion.eval()
            criterion(weight, torch.zeros(1))
            criterion.train()
        with pytest.raises(ArgumentValueError, match="every must be"):
            log_training(log, optimizer, every=0)
    assert script.export(server.address)["run", "fine/loss", 0]["x"].tolist() == [0, 3, 6]
