"""The command `smartml`: words for the shell, no logic of their own. One file for each group of commands."""

from smartml.cli.command import main

__all__ = ["main"]
