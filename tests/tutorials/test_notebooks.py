"""The notebooks of the first tutorial, executed with less time to learn."""

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = {"torch": "online_surrogate_torch.ipynb", "keras": "online_surrogate_keras.ipynb"}


@pytest.mark.parametrize("framework", NOTEBOOKS)
def test_notebook_learns_something(tutorial, framework):
    pytest.importorskip(framework)
    notebook = nbformat.read(tutorial / NOTEBOOKS[framework], as_version=4)
    (first, *_) = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "SECONDS = 40" in first.source
    first.source = first.source.replace("SECONDS = 40", "SECONDS = 10")

    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tutorial)}}).execute()

    lines = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    errors = [float(line.rsplit(" ", 1)[1]) for line in lines.splitlines() if line.startswith("epoch ")]
    assert errors[-1] < 0.44
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "producer_1" in lines


@pytest.mark.parametrize("framework", NOTEBOOKS)
def test_notebook_is_kept_without_outputs(tutorial, framework):
    notebook = nbformat.read(tutorial / NOTEBOOKS[framework], as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
