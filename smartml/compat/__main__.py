"""`python -m smartml.compat` is the command `smartml compat`."""

from smartml.cli.compat import compat

compat(prog_name="python -m smartml.compat")
