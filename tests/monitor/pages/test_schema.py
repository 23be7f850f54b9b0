"""Schemas: what they may say, and what is said of each mistake."""

import os

import pytest

from smartml.errors import SchemaError

pytest.importorskip("yaml", reason="the package 'PyYAML' is not installed")
pytest.importorskip("bokeh", reason="the package 'bokeh' is not installed")

from smartml.monitor.pages import SchemaFile, load_schema
from smartml.monitor.pages.colors import Formula
from smartml.monitor.pages.schema import Glyph

WHOLE = """
DEFAULTS:
  glyph_kwargs: {alpha: 0.5}
  color: {palette: Category10_10, num_colors: 5}
  figure_kwargs: {title: {text_font_size: 12pt}}
loss:
  name_pattern: (kldiv|cross_entropy)
  color: {formula: index_name, num_groups: 3}
  figure_kwargs:
    title: {text: The loss}
    xaxis: {axis_label: step}
    legend: {visible: false}
    y_range: [0, 1]
cloud:
  glyph_kind: scatter
  glyph_kwargs: {size: 3}
  columns: [x, y, t]
  filter_opts: {column: t}
  color: {key_fun: ns}
"""


def test_a_schema_is_read_in_order_with_defaults_merged_into_each_plot():
    plots = load_schema(WHOLE)

    loss, cloud = plots.values()
    assert list(plots) == ["loss", "cloud"]
    assert loss.glyph is Glyph.LINE and cloud.glyph is Glyph.SCATTER
    assert loss.glyph_options == {"alpha": 0.5} and cloud.glyph_options == {"alpha": 0.5, "size": 3}
    assert loss.name_pattern.fullmatch("kldiv") and not loss.name_pattern.fullmatch("kldivergence")
    assert loss.figure["title"] == {"text_font_size": "12pt", "text": "The loss"}
    assert loss.figure["y_range"] == [0, 1]
    assert (loss.color.formula, loss.color.num_groups, loss.color.num_colors) == (Formula.INDEX_NAME, 3, 5)
    assert (cloud.color.formula, cloud.color.key_fun, cloud.color.palette) == (None, "ns", "Category10_10")
    assert (cloud.columns, cloud.filter_column, cloud.name_pattern) == (("x", "y", "t"), "t", None)


def test_a_plot_without_settings_is_a_line_of_everything():
    plot = load_schema("loss:")["loss"]

    assert (plot.glyph, plot.name_pattern, plot.columns, plot.filter_column) == (Glyph.LINE, None, None, None)
    assert plot.color.palette == "Viridis8"


def test_settings_of_bokeh_that_are_not_drawn_are_told_and_left_out(caplog):
    plot = load_schema(
        "a: {figure_kwargs: {tools: pan, legend: {location: top_left}}, glyph_kwargs: {line_cap: round}}"
    )

    assert plot["a"].figure == {"legend": {}} and plot["a"].glyph_options == {}
    assert sorted(record.args for record in caplog.records) == [
        ("a", "figure_kwargs.legend.location"),
        ("a", "figure_kwargs.tools"),
        ("a", "glyph_kwargs.line_cap"),
    ]


MISTAKES = {
    "": "a schema maps names of plots to their settings; this is nothing",
    "[a, b]": "a schema maps names of plots to their settings; this is list",
    "DEFAULTS: {}": "the schema has no plot",
    "a: [": "the schema is not YAML",
    "a: !!python/object:os.system {}": "the schema is not YAML",
    "a: {}\na: {}": "the mapping at line 1 has the key 'a' twice",
    "a: {color: {palette: Turbo3, palette: Turbo4}}": "has the key 'palette' twice",
    "1: {}": "the name of a plot is text, not 1",
    "'a,b': {}": "plot 'a,b': commas and semicolons",
    "a: line": "plot 'a': must be a mapping, not str 'line'",
    "a: {glyph: line}": "plot 'a', glyph: there is no such setting; known are color, columns,",
    "DEFAULTS: {glyph: line}\na: {}": "plot 'DEFAULTS', glyph: there is no such setting",
    "a: {glyph_kind: bar}": "plot 'a', glyph_kind: is 'bar', must be one of line, scatter, field, image, states",
    "a: {glyph_kind: [line]}": "plot 'a', glyph_kind: is ['line'], must be one of line,",
    "a: {glyph_kwargs: 3}": "plot 'a', glyph_kwargs: must be a mapping, not int '3'",
    "a: {glyph_kwargs: {line_width: thick}}": "plot 'a', glyph_kwargs.line_width: is 'thick', must be a number above 0",
    "a: {glyph_kwargs: {line_width: .nan}}": "plot 'a', glyph_kwargs.line_width: is nan",
    "a: {glyph_kwargs: {alpha: 2}}": "plot 'a', glyph_kwargs.alpha: is 2, must be a number from 0 to 1",
    "a: {glyph_kwargs: {with: 2}}": "plot 'a', glyph_kwargs.with: there is no such setting; known are alpha, color,",
    "a: {glyph_kwargs: {color: 'red;x'}}": "plot 'a', glyph_kwargs.color: is 'red;x', must be a colour",
    "a: {name_pattern: (}": "plot 'a', name_pattern: is '(', must be a regular expression",
    "a: {name_pattern: 3}": "plot 'a', name_pattern: is 3, must be text",
    "a: {columns: x}": "plot 'a', columns: is 'x', must be a list of names of fields",
    "a: {columns: [x, x]}": "plot 'a', columns: is ['x', 'x'], must be a list in which each field stands once",
    "a: {columns: [x], filter_opts: {column: t}}": "plot 'a', filter_opts.column: 't' is none of the columns: x",
    "a: {filter_opts: {columns: t}}": "plot 'a', filter_opts.columns: there is no such setting; known are column",
    "a: {color: {formula: rainbow}}": "plot 'a', color.formula: is 'rainbow', must be one of name_index, index_name,",
    "a: {color: {palette: Viridis9000}}": "plot 'a', color.palette: is 'Viridis9000', must be a palette of Bokeh: V",
    "a: {color: {palette: nice}}": "plot 'a', color.palette: is 'nice', must be a palette of Bokeh: there are",
    "a: {color: {key_fun: sx}}": "plot 'a', color.key_fun: is 'sx', must be some of the letters s, n and i",
    "a: {color: {num_colors: 0}}": "plot 'a', color.num_colors: is 0, must be a whole number from 1",
    "a: {color: {num_indices: true}}": "plot 'a', color.num_indices: is True, must be a whole number",
    "a: {figure_kwargs: {titel: x}}": "plot 'a', figure_kwargs.titel: there is no such setting; known are title,",
    "a: {figure_kwargs: {title: {text: 1}}}": "plot 'a', figure_kwargs.title.text: is 1, must be text",
    "a: {figure_kwargs: {xaxis: {lable: x}}}": "plot 'a', figure_kwargs.xaxis.lable: there is no such setting",
    "a: {figure_kwargs: {x_range: [2, 1]}}": "plot 'a', figure_kwargs.x_range: is [2, 1], must be a list of two",
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_plot_its_key_and_what_is_allowed(text, words):
    with pytest.raises(SchemaError) as raised:
        load_schema(text)

    assert words in str(raised.value)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my schema.yaml"
    path.write_text("a: {}")
    return path


def test_a_file_is_loaded_again_when_it_changes(file):
    schema = SchemaFile(file)
    assert not schema.refresh()

    file.write_text("a: {}\nb: {}")

    assert schema.refresh()
    assert list(schema.plots) == ["a", "b"]
    assert not schema.refresh()


def test_a_change_that_is_wrong_leaves_what_was_and_is_told_until_it_is_mended(file):
    schema = SchemaFile(file)

    file.write_text("a: {glyph_kind: bar}")
    assert schema.refresh()
    assert "my schema.yaml: plot 'a', glyph_kind: is 'bar'" in schema.problem
    assert list(schema.plots) == ["a"]
    assert not schema.refresh()

    os.remove(file)
    assert schema.refresh()
    assert "cannot be read" in schema.problem

    file.write_text("b: {}")
    assert schema.refresh()
    assert (list(schema.plots), schema.problem) == (["b"], None)


def test_a_file_that_is_wrong_from_the_beginning_is_refused(file):
    file.write_text("a: 3")

    with pytest.raises(SchemaError, match="must be a mapping"):
        SchemaFile(file)
    with pytest.raises(SchemaError, match="cannot be read"):
        SchemaFile(file.with_name("none.yaml"))
