"""`python -m smartml` is the command `smartml`."""

from smartml.cli import main

main()
