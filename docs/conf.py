"""How the documentation is built: `make docs`, or `sphinx-build -W docs build/docs`. `about.md` gives the reasons."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "smartml"
author = "the smartml authors"
copyright = "the smartml authors"
# Read, not imported: the site is built without any of the packages that smartml needs.
release = version = re.search(
    r'^__version__ = "(.+)"', (HERE.parent / "smartml/_version.py").read_text(), re.MULTILINE
)[1]

extensions = ["myst_parser", "sphinx_copybutton", "public_names", "name_links", "tutorials"]
exclude_patterns = ["extensions", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# What is written as a name of ours has to exist; types of others in signatures have no page here.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!smartml\.).*")]
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"smartml {version}"
html_static_path = ["_static"]
html_css_files = ["smartml.css"]
html_copy_source = False
html_show_sourcelink = False
# Bash and text have prompts of their own; what is copied is what is typed.
copybutton_exclude = ".linenos, .gp, .go"
