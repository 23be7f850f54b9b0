"""What sources in C, C++ and Fortran, build files, requirements and scripts use, found by words in their text.

Only files that speak of SmartRedis are looked into for its functions, for their names are ordinary ones.
"""

import re
from collections.abc import Callable, Iterator

from smartml.compat.table import NAMES, Name
from smartml.compat.uses import Use

_LIBRARY = "SmartRedis library"
_FUNCTIONS = {name.rpartition(".")[2]: found for name, found in NAMES.items() if name.startswith(f"{_LIBRARY}.")}
_COMMANDS = {name: found for name, found in NAMES.items() if name.startswith("AI.")}
_VARIABLES = {name: found for name, found in NAMES.items() if re.fullmatch(r"[A-Z]+_[A-Z_]+", name)}
_PACKAGES = {name.split()[-1]: found for name, found in NAMES.items() if name.startswith("the package ")}
_SHELL = {name.split()[-1]: found for name, found in NAMES.items() if name.startswith("smart ")}

# What a file that uses the library has in it, whatever the language.
_SPEAKS_OF_IT = re.compile(r"smart_?redis|\b(?:sr_enums|c_client|c_dataset)\.h\b|\bSRNoError\b", re.IGNORECASE)
# Where it is taken in: headers, Fortran modules, the namespace.
_TAKEN_IN = re.compile(
    r"#\s*include\s*[<\"](?:[\w./-]*/)?(?:client|dataset|c_client|c_dataset|sr_enums|configoptions|c_configoptions"
    r"|logger|c_logger|logcontext|srexception)\.h[>\"]"
    r"|#?\s*include\s*[<\"'](?:[\w./-]*/)?enum_fortran\.inc[>\"']"
    r"|\buse\s*(?:,\s*\w+\s*)?(?:::)?\s*smartredis_\w+"
    r"|\busing\s+namespace\s+SmartRedis\b",
    re.IGNORECASE,
)
_WORD_BEFORE_BRACKET = re.compile(r"\b(\w+)\s*\(")
_COMMAND = re.compile(r"\bAI\.[A-Z_]+")
_C_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|(\"(?:\\.|[^\"\\\n])*\")", re.DOTALL)
_FORTRAN_COMMENT = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|(![^\n]*)|(?m:^([cC*][^\n]*)$)")
_LINKED = re.compile(r"smart_?redis", re.IGNORECASE)
_NAMED = re.compile(rf"(?<![\w-])({'|'.join(_PACKAGES)})(?![\w-])", re.IGNORECASE)
_SMART = re.compile(rf"(?<![\w./-])smart\s+({'|'.join(_SHELL)})\b")
_VARIABLE = re.compile(rf"\b({'|'.join(_VARIABLES)})\b")


def uses_in_string(text: str) -> list[Name]:
    """Return the commands of RedisAI and the variables that a string in a program names."""
    command = _COMMAND.match(text)
    found = [_COMMANDS[command[0]]] if command and command[0] in _COMMANDS else []
    return [*found, _VARIABLES[text]] if text in _VARIABLES else found


def uses_in_c(text: str) -> list[Use]:
    """Return the uses in a source in C or C++."""
    return _in_source(text, _C_COMMENT.sub(lambda comment: comment[1] or _blank(comment[0]), text))


def uses_in_fortran(text: str) -> list[Use]:
    """Return the uses in a source in Fortran, of free or fixed form."""

    def blanked(found: re.Match[str]) -> str:
        return _blank(found[0]) if found[1] or found[2] else found[0]

    return _in_source(text, _FORTRAN_COMMENT.sub(blanked, text))


def uses_in_build(text: str) -> list[Use]:
    """Return the lines of a build file (CMake, make) that name the library."""
    return list(_by_line(_without_hashes(text), _LINKED, lambda _: NAMES[_LIBRARY]))


def uses_in_requirements(text: str) -> list[Use]:
    """Return the uses in a file that says what a Python project needs."""
    return list(_by_line(_without_hashes(text), _NAMED, lambda found: _PACKAGES[found[1].lower()]))


def uses_in_script(text: str) -> list[Use]:
    """Return the uses in a script of the shell, or in anything else that runs commands: what it installs, too."""
    text = _without_hashes(text)
    return [
        *_by_line(text, _SMART, lambda found: _SHELL[found[1]]),
        *_by_line(text, _VARIABLE, lambda found: _VARIABLES[found[1]]),
        *_by_line(text, re.compile(rf"\binstall\b[^\n]*?{_NAMED.pattern}", re.IGNORECASE), _installed),
    ]


def _installed(found: re.Match[str]) -> Name:
    return _PACKAGES[found[1].lower()]


def _in_source(text: str, code: str) -> list[Use]:
    uses = list(_by_line(code, _COMMAND, lambda found: _COMMANDS.get(found[0])))
    if _SPEAKS_OF_IT.search(text):
        uses += _by_line(code, _TAKEN_IN, lambda _: NAMES[_LIBRARY])
        uses += _by_line(code, _WORD_BEFORE_BRACKET, lambda found: _FUNCTIONS.get(found[1]))
    return uses


def _by_line(text: str, pattern: re.Pattern[str], name_of: Callable[[re.Match[str]], Name | None]) -> Iterator[Use]:
    for number, line in enumerate(text.splitlines(), 1):
        names = dict.fromkeys(name_of(found) for found in pattern.finditer(line))
        yield from (Use(number, name) for name in names if name is not None)


def _without_hashes(text: str) -> str:
    return re.sub(r"(?m)(?:^|[ \t])#.*$", "", text)


def _blank(comment: str) -> str:
    """Leave of a comment the ends of its lines, so that numbers of lines stay."""
    return re.sub(r"[^\n]", " ", comment)
