"""The tensor module: lets programs of SmartRedis (C++, C, Fortran, Python) use a smartml database.

A Redis server that has loaded it answers SmartRedis's tensor commands over the same plain strings that
`smartml.Client` puts and gets. `layout.c` knows the bytes of a value, `redis_api.c` the server's functions, `module.c`
the commands.
"""

from smartml.store.module.module_file import MODULE_VARIABLE, build_module, find_module

__all__ = ["MODULE_VARIABLE", "build_module", "find_module"]
