"""Values on devices: kept there at the write, fetched once per column at the flush."""

import gc
import time
import weakref
from importlib.util import find_spec

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor import DataLogger, script

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the package 'torch' is not installed")
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="the package 'jax' is not installed")


class FarArray:
    """An array that follows the array API, on a device of which every transfer to the host is counted."""

    transfers = 0

    def __init__(self, values):
        self._values = np.array(values)

    shape = property(lambda self: self._values.shape)
    dtype = property(lambda self: self._values.dtype)
    device = "far"

    def __array_namespace__(self, api_version=None):
        return FarNamespace

    def __array__(self, dtype=None, copy=None):
        FarArray.transfers += 1
        return self._values.astype(dtype or self._values.dtype)

    def __float__(self):
        raise AssertionError("this waits for the device")

    __int__ = __index__ = __bool__ = __len__ = __iter__ = __float__


class FarNamespace:
    @staticmethod
    def asarray(array, copy=None):
        return FarArray(array._values)

    @staticmethod
    def reshape(array, shape):
        return FarArray(array._values.reshape(shape))

    @staticmethod
    def concat(arrays):
        return FarArray(np.concatenate([array._values for array in arrays]))


@pytest.fixture
def log(server):
    FarArray.transfers = 0
    # Nothing is sent before it is asked for: what the first write starts is over then.
    made = DataLogger("run", grpc_uri=server.address, flush_every=1000)
    made.write("first", x=1)
    made.flush()
    yield made
    made.close()


def stored(log, name):
    assert log.flush(20)
    found = script.export(log.address, "run", name)
    return {index: {field: it.tolist() for field, it in fields.items()} for (_, _, index), fields in found.items()}


def test_nothing_is_fetched_at_a_write_and_each_column_once_at_the_flush(log):
    for step in range(50):
        log.write("loss", x=step, y=FarArray(step / 4))
        log.write("rows", x=FarArray([step, step + 1]), y=FarArray([[1.0, 2.0], [3.0, 4.0]]))
    assert FarArray.transfers == 0

    assert stored(log, "loss") == {0: {"x": list(range(50)), "y": [step / 4 for step in range(50)]}}
    assert FarArray.transfers == 3
    rows = stored(log, "rows")
    assert rows[0]["x"] == rows[1]["x"] == [value for step in range(50) for value in (step, step + 1)]
    assert (rows[0]["y"], rows[1]["y"]) == ([1.0, 2.0] * 50, [3.0, 4.0] * 50)
    assert FarArray.transfers == 3


def test_columns_of_several_types_are_fetched_once_per_type_and_stay_in_order(log):
    for value in (FarArray(1), FarArray(2.5), 3, FarArray(np.float32(4)), FarArray(5)):
        log.write("a", x=value)
    assert stored(log, "a") == {0: {"x": [1, 2.5, 3, 4, 5]}}
    assert FarArray.transfers == 3


def test_what_waits_on_a_device_is_bounded(server, eventually):
    FarArray.transfers = 0
    with DataLogger("run", grpc_uri=server.address, flush_every=1000, max_device_mb=1) as log:
        for _ in range(3):
            log.write("a", x=FarArray(np.zeros(100_000)))
        eventually(lambda: FarArray.transfers)


def test_what_cannot_be_stored_is_refused_without_looking_at_it(log):
    for value in (FarArray(np.array([1], "uint64")), FarArray([1j]), FarArray(["a"])):
        with pytest.raises(ArgumentTypeError, match="field 'x' of 'a' is of"):
            log.write("a", x=value)
    with pytest.raises(ArgumentValueError, match="has shape"):
        log.write("a", x=FarArray(np.zeros((1, 2, 3))))
    assert FarArray.transfers == 0


def test_a_device_that_fails_at_the_flush_costs_its_own_points_alone(log, caplog):
    class Failing(FarArray):
        def __array_namespace__(self, api_version=None):
            return FailingNamespace

        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("the device has gone")

    class FailingNamespace(FarNamespace):
        @staticmethod
        def asarray(array, copy=None):
            return Failing(array._values)

        @staticmethod
        def reshape(array, shape):
            return Failing(array._values.reshape(shape))

    log.write("bad", x=Failing(1.5))
    log.write("good", x=2)
    assert stored(log, "good") == {0: {"x": [2]}}
    assert log.counts.refused == 1
    assert "'bad' cannot be fetched from its device" in caplog.text


@needs_torch
class TestTorch:
    @pytest.mark.parametrize(
        ("dtype", "stored_as"),
        [
            ("float16", "float32"),
            ("bfloat16", "float32"),
            ("float32", "float32"),
            ("float64", "float64"),
            ("uint8", "int64"),
            ("int64", "int64"),
            ("bool", "int64"),
        ],
    )
    def test_every_type_is_widened_to_one_that_is_stored(self, log, dtype, stored_as):
        import torch

        log.write("a", x=torch.tensor([1, 0, 1]).to(getattr(torch, dtype)))
        log.flush()
        [fields] = script.export(log.address, "run", "a").values()
        assert fields["x"].dtype == stored_as
        assert fields["x"].tolist() == [1, 0, 1]

    def test_what_is_written_is_what_the_tensor_held_then_and_keeps_no_graph(self, log):
        import torch

        class Marked(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.kept = Kept()
                nonlocal graph
                graph = weakref.ref(ctx.kept)
                return x.sum() * 2

        class Kept:
            """Lives as long as the graph."""

        graph = None
        weight = torch.ones(3, requires_grad=True)
        loss = Marked.apply(weight)
        assert graph() is not None
        log.write("loss", x=0, y=loss)
        log.write("weight", x=weight)
        with torch.no_grad():
            weight += 100
        del loss
        gc.collect()
        assert graph() is None
        assert stored(log, "loss") == {0: {"x": [0], "y": [6.0]}}
        assert stored(log, "weight") == {0: {"x": [1.0, 1.0, 1.0]}}

    def test_arrays_of_several_libraries_go_together(self, log):
        import torch

        log.write("a", x=torch.arange(3), y=np.ones((2, 3)), t=7)
        log.write("a", x=[3], y=torch.zeros(2, 1), t=FarArray(8))
        assert stored(log, "a") == {
            index: {"x": [0, 1, 2, 3], "y": [1.0, 1.0, 1.0, 0.0], "t": [7, 7, 7, 8]} for index in (0, 1)
        }

    def test_a_scalar_beside_a_long_vector_stays_one_element(self, log):
        import torch

        log.write("a", x=torch.tensor(3), y=torch.arange(10_000.0))
        found = stored(log, "a")[0]
        assert found["x"] == [3] * 10_000
        assert found["y"] == list(range(10_000))

    def test_what_has_no_numbers_is_refused(self, log):
        import torch

        for value in (torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta"), torch.eye(2).to_sparse()):
            with pytest.raises(ArgumentTypeError, match="field 'x' of 'a' is of torch"):
                log.write("a", x=value)

    def test_no_write_waits_for_a_gpu(self, log):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no GPU")
        big = torch.rand(8192, 8192, device="cuda")
        log.write("loss", x=0, y=big.sum())
        log.flush()
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for step in range(1, 41):
            big = (big @ big).clamp(0, 1)
            log.write("loss", x=step, y=big.mean())
        writing_s = time.perf_counter() - begin
        torch.cuda.synchronize()
        working_s = time.perf_counter() - begin
        assert writing_s < working_s / 2
        assert len(stored(log, "loss")[0]["y"]) == 41


@needs_jax
class TestJax:
    def test_arrays_of_jax_are_stored(self, log):
        import jax.numpy as jnp

        for step in range(3):
            log.write("loss", x=step, y=jnp.float32(step) / 2)
        log.write("rows", x=jnp.arange(2), y=jnp.ones((2, 2), jnp.bfloat16))
        assert stored(log, "loss") == {0: {"x": [0, 1, 2], "y": [0.0, 0.5, 1.0]}}
        assert stored(log, "rows") == {index: {"x": [0, 1], "y": [1.0, 1.0]} for index in (0, 1)}

    def test_a_value_that_is_being_traced_is_refused(self, log):
        import jax

        with pytest.raises(ArgumentTypeError, match="inside a function that jax compiles"):
            jax.jit(lambda x: (log.write("a", x=x), x)[1])(1.0)
