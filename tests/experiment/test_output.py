"""Output files of jobs."""

from smartml.experiment.output import keep_earlier, last_lines


def test_earlier_files_are_numbered_together(tmp_path):
    out, err = tmp_path / "a.b.out", tmp_path / "a.b.err"
    for run in range(3):
        keep_earlier(out, err)
        out.write_text(str(run))
        if run == 1:
            err.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.1.out", "a.b.2.err", "a.b.2.out", "a.b.out"]
    assert (tmp_path / "a.b.2.out").read_text() == "1"


def test_last_lines_of_a_long_damaged_or_missing_file(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000 + b"\nlast \xff but one\nlast\n\n")
    assert last_lines(file, 2) == "last \ufffd but one\nlast"
    assert last_lines(file, 1) == "last"
    assert last_lines(tmp_path / "none") == ""
