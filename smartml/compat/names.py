"""Names of SmartSim and SmartRedis, found as programs write them: from deep modules, of classes and their parents."""

from collections.abc import Iterator

from smartml.compat.table import AT_HOME, HOMES, NAMES, Name


def documented(name: str) -> str:
    """Return a dotted name as the documentation imports it, also when it is one of a deeper module."""
    if name in NAMES:
        return name
    if name in HOMES:
        return HOMES[name]
    module, _, last = name.rpartition(".")
    shallow = f"{HOMES.get(module, module)}.{last}"
    return AT_HOME.get(shallow, shallow)


def is_module(name: str) -> bool:
    """Return True for a module of theirs."""
    return name in HOMES or (name in NAMES and name in _MODULES)


def is_class(name: str) -> bool:
    """Return True for a class of theirs, where it is documented."""
    return name in NAMES and name.rpartition(".")[2][0].isupper()


def find_name(name: str) -> Name | None:
    """Return what becomes of a name, or of an argument; None when it is not listed. A class has its parents' names."""
    if name in NAMES:
        return NAMES[name]
    call, bracket, argument = name.partition("(")
    owner, _, last = documented(call).rpartition(".")
    for candidate in _with_parents(owner):
        if found := NAMES.get(f"{candidate}.{last}{bracket}{argument}"):
            return found
    # Arguments of a class are those of its parents, too.
    return next(
        (NAMES[f"{it}({argument}"] for it in _with_parents(documented(call)) if f"{it}({argument}" in NAMES), None
    )


def module_names(module: str) -> list[str]:
    """Return the names that a `from module import *` brings, as they are documented."""
    home = HOMES.get(module, module)
    return [name for name in NAMES if name.rpartition(".")[0] == home and "(" not in name and name not in _MODULES]


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = NAMES[name].parent if name in NAMES else ""


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


_MODULES = {
    prefix
    for name in NAMES
    if name.startswith(("smartsim", "smartredis")) and "(" not in name
    for prefix in _prefixes(name)
    if any(other.startswith(f"{prefix}.") for other in NAMES) and prefix.rpartition(".")[2][0].islower()
}
