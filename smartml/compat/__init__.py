"""SmartSim's and SmartRedis's names, for programs that run unchanged.

The folder `path/` holds a package `smartsim`, the folder `path_smartredis/` a package `smartredis`. Nobody sees them
but programs that `smartml compat run` runs, and what these start. They give names, signatures and classes of errors;
what those do is done by the rooms of smartml.
"""

from smartml.compat.running import CompatPath, run_program

__all__ = ["CompatPath", "run_program"]
