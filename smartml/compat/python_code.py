"""What a Python source uses of SmartSim and SmartRedis, as far as its text shows it.

Names are followed from imports through assignments, calls, annotations, loops and attributes of `self`. Nothing is
imported or run. What comes from elsewhere (a container, an argument without annotation) stays unknown, and unseen.
"""

import ast
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from smartml.compat.names import documented, find_name, is_class, is_module, module_names
from smartml.compat.table import NAMES
from smartml.compat.texts import uses_in_string
from smartml.compat.uses import Use, use_of

_ROOTS = ("smartsim", "smartredis")
# Functions that import what a string names.
_IMPORTERS = ("import_module", "importorskip", "__import__")
_CONTAINERS = ("list", "List", "tuple", "Tuple", "set", "Sequence", "Iterable", "Iterator", "Collection")


class _Kind(Enum):
    MODULE = auto()
    CLASS = auto()
    INSTANCE = auto()
    # A list, or anything else to loop over, of instances.
    SEVERAL = auto()
    # Known by its name alone.
    OTHER = auto()


@dataclass(frozen=True)
class _Value:
    """What is known of a value: of an instance the class, of the others the name."""

    kind: _Kind
    name: str
    # The name that it was taken by, for arguments of a call.
    taken_by: str = ""
    # True for a class of the project's own that is derived from one of theirs.
    is_derived: bool = False


@dataclass
class _Scope:
    """The names of a module, class or function: as they stand at a line, and the last that was known of each."""

    parent: "_Scope | None" = None
    is_class: bool = False
    values: dict[str, _Value | None] = field(default_factory=dict)
    known: dict[str, _Value] = field(default_factory=dict)
    # What functions return, by the name of the function.
    returned: list[_Value] = field(default_factory=list)

    def bind(self, name: str, value: _Value | None) -> None:
        self.values[name] = value
        if value is not None:
            self.known[name] = value

    def find(self, name: str) -> _Value | None:
        if name in self.values:
            return self.values[name]
        scope: _Scope | None = self
        while scope is not None:
            # The attributes of `self` are those of the class; its plain names are not seen by its methods.
            if name in scope.known and (scope is self or not scope.is_class or "." in name):
                return scope.known[name]
            scope = scope.parent
        return None


def uses_in_python(source: str | bytes) -> list[Use]:
    """Return the uses in a source, by line. Raises SyntaxError, ValueError, RecursionError for what cannot be read."""
    with warnings.catch_warnings():
        # A backslash too many in the project's strings is none of our business.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    reader = _Reader()
    # First everything is bound, then uses are noted: functions see what is assigned below them.
    reader.read(tree)
    reader.is_noting = True
    reader.read(tree)
    return sorted(set(reader.uses), key=lambda use: (use.line, use.name.theirs))


class _Reader:
    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.is_noting = False
        # By the node that opens it; kept for the second reading.
        self._scopes: dict[ast.AST, _Scope] = {}
        self._scope = _Scope()
        # Functions are read after what stands around them.
        self._functions: deque[tuple[ast.FunctionDef | ast.AsyncFunctionDef, _Scope]] = deque()

    def read(self, tree: ast.Module) -> None:
        self._scope = self._opened(tree, None)
        self._read_all(tree.body)
        while self._functions:
            node, around = self._functions.popleft()
            self._read_function(node, around)

    def _opened(self, node: ast.AST, parent: _Scope | None, is_class: bool = False) -> _Scope:
        before = self._scopes.get(node, _Scope())
        self._scopes[node] = _Scope(parent, is_class, known=before.known)
        return self._scopes[node]

    def _note(self, node: ast.AST, name: str) -> None:
        if self.is_noting:
            self.uses.append(use_of(getattr(node, "lineno", 1), name))

    # Statements

    def _read_all(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._read(statement)

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self._read_import(node)
        elif isinstance(node, ast.ImportFrom):
            self._read_import_from(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._read_definition(node)
        elif isinstance(node, ast.ClassDef):
            self._read_class(node)
        elif isinstance(node, ast.Assign):
            value = self._value(node.value)
            for target in node.targets:
                self._bind(target, value, node.value)
        elif isinstance(node, ast.AnnAssign):
            value = None if node.value is None else self._value(node.value)
            self._bind(node.target, value or self._annotated(node.annotation), node.value)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self._bind_in_turn(node.target, node.iter)
            self._read_all([*node.body, *node.orelse])
        elif isinstance(node, ast.withitem):
            value = self._value(node.context_expr)
            if node.optional_vars is not None:
                self._bind(node.optional_vars, value, None)
        elif isinstance(node, ast.Return):
            value = None if node.value is None else self._value(node.value)
            if value is not None:
                self._scope.returned.append(value)
        elif isinstance(node, ast.expr):
            self._value(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._read(child)

    def _read_import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] not in _ROOTS:
                self._scope.bind(alias.asname or alias.name.split(".")[0], None)
                continue
            self._note(node, alias.name)
            # `import a.b` binds `a`.
            bound = alias.name if alias.asname else alias.name.split(".")[0]
            self._scope.bind(alias.asname or bound, _Value(_Kind.MODULE, bound))

    def _read_import_from(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        is_theirs = not node.level and module.split(".")[0] in _ROOTS
        for alias in node.names:
            if not is_theirs:
                self._scope.bind(alias.asname or alias.name, None)
            elif alias.name == "*":
                self._note(node, module)
                for name in module_names(module):
                    self._scope.bind(name.rpartition(".")[2], self._named(name))
            else:
                name = f"{module}.{alias.name}"
                self._note(node, name)
                self._scope.bind(alias.asname or alias.name, self._named(name))

    def _read_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        for expression in [*node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)]:
            self._value(expression)
        value = None if node.returns is None else self._annotated(node.returns)
        if value is None and node in self._scopes:
            # Known from the first reading.
            value = self._scopes[node].known.get("return")
        self._scope.bind(node.name, value)
        self._functions.append((node, self._scope))

    def _read_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, around: _Scope) -> None:
        scope = self._scope = self._opened(node, around)
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            value = None if argument.annotation is None else self._annotated(argument.annotation)
            scope.bind(argument.arg, value)
        if around.is_class and (first := [*arguments.posonlyargs, *arguments.args][:1]):
            scope.bind(first[0].arg, around.known.get("self"))
        self._read_all(node.body)
        if scope.returned:
            # Not a name that a function can bind.
            scope.known["return"] = scope.returned[-1]
            around.known.setdefault(node.name, scope.returned[-1])

    def _read_class(self, node: ast.ClassDef) -> None:
        bases = [self._value(base) for base in node.bases]
        for keyword in node.keywords:
            self._value(keyword.value)
        for decorator in node.decorator_list:
            self._value(decorator)
        theirs = next((base for base in bases if base is not None and base.kind is _Kind.CLASS), None)
        if theirs is not None:
            theirs = _Value(_Kind.CLASS, theirs.name, is_derived=True)
        self._scope.bind(node.name, theirs)
        outer, self._scope = self._scope, self._opened(node, self._scope, is_class=True)
        if theirs is not None:
            self._scope.known["self"] = _Value(_Kind.INSTANCE, theirs.name, is_derived=True)
        self._read_all(node.body)
        self._scope = outer

    def _bind(self, target: ast.expr, value: _Value | None, source: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            # `client = None`, before or after it is one, says nothing of what it is in between.
            if not (isinstance(source, ast.Constant) and source.value is None and self._scope.find(target.id)):
                self._scope.bind(target.id, value)
        elif isinstance(target, ast.Attribute) and (name := _dotted(target)):
            if value is not None:
                self._scope.bind(name, value)
                if self._scope.parent is not None and self._scope.parent.is_class:
                    self._scope.parent.known[name] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = source.elts if isinstance(source, ast.Tuple | ast.List) else []
            for number, part in enumerate(target.elts):
                # Read before, with the whole.
                own = self._quietly(parts[number]) if len(parts) == len(target.elts) else None
                self._bind(part, own, parts[number] if own else None)
        else:
            for child in ast.iter_child_nodes(target):
                self._read(child)

    def _bind_in_turn(self, target: ast.expr, source: ast.expr) -> None:
        """Bind what a loop gives, also by `enumerate` and `zip`."""
        item = self._item(self._value(source))
        word = getattr(source.func, "id", "") if isinstance(source, ast.Call) else ""
        if isinstance(source, ast.Call) and isinstance(target, ast.Tuple) and word in ("enumerate", "zip"):
            items = [self._item(self._quietly(argument)) for argument in source.args]
            for part, own in zip(target.elts, items if word == "zip" else [None, *items], strict=False):
                self._bind(part, own, None)
        else:
            self._bind(target, item, None)

    # Expressions

    def _value(self, node: ast.expr) -> _Value | None:
        """Read an expression, and return what is known of it."""
        if isinstance(node, ast.Name):
            return self._scope.find(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            self._read(node.slice)
            return self._item(self._value(node.value))
        if isinstance(node, ast.Await):
            return self._value(node.value)
        if isinstance(node, ast.NamedExpr):
            value = self._value(node.value)
            self._bind(node.target, value, node.value)
            return value
        if isinstance(node, ast.IfExp):
            self._value(node.test)
            return self._first(node.body, node.orelse)
        if isinstance(node, ast.BoolOp):
            return self._first(*node.values)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return self._several(self._first(*node.elts))
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            self._generators(node.generators)
            return self._several(self._value(node.elt))
        if isinstance(node, ast.DictComp):
            self._generators(node.generators)
            self._first(node.key, node.value)
            return None
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and self.is_noting:
                self.uses += [Use(node.lineno, name) for name in uses_in_string(node.value)]
            return None
        for child in ast.iter_child_nodes(node):
            self._read(child)
        return None

    def _first(self, *nodes: ast.expr) -> _Value | None:
        values = [self._value(node) for node in nodes]
        return next((value for value in values if value is not None), None)

    def _generators(self, generators: list[ast.comprehension]) -> None:
        for generator in generators:
            self._bind_in_turn(generator.target, generator.iter)
            for condition in generator.ifs:
                self._value(condition)

    def _attribute(self, node: ast.Attribute) -> _Value | None:
        base = self._value(node.value)
        if base is None or base.kind in (_Kind.SEVERAL, _Kind.OTHER):
            name = _dotted(node)
            return self._scope.find(name) if name else None
        if node.attr.startswith("__") and node.attr != "__version__":
            return None
        full = documented(f"{base.name}.{node.attr}")
        if base.kind is _Kind.MODULE and is_module(full):
            return _Value(_Kind.MODULE, full)
        if base.is_derived and find_name(full) is None:
            # One of the project's own.
            name = _dotted(node)
            return self._scope.find(name) if name else None
        self._note(node, full)
        return self._named(full)

    def _named(self, name: str) -> _Value | None:
        """Return what is known of what a name stands for."""
        name = documented(name)
        if is_module(name):
            return _Value(_Kind.MODULE, name)
        if is_class(name):
            return _Value(_Kind.CLASS, name, taken_by=name)
        found = find_name(name)
        if found is None:
            return None
        if not found.gives:
            return _Value(_Kind.OTHER, name, taken_by=found.theirs)
        kind = _Kind.SEVERAL if found.gives.startswith("[") else _Kind.INSTANCE
        return _Value(kind, found.gives.strip("[]"), taken_by=found.theirs)

    def _call(self, node: ast.Call) -> _Value | None:
        called = self._value(node.func)
        arguments = [self._value(argument) for argument in node.args]
        for keyword in node.keywords:
            self._value(keyword.value)
        word = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called is None:
            return self._foreign_call(node, word, arguments)
        if called.taken_by:
            for keyword in node.keywords:
                self._note_argument(keyword, called.taken_by)
        if called.kind is _Kind.CLASS:
            return _Value(_Kind.INSTANCE, called.name, is_derived=called.is_derived)
        # What a method gives was found with its name.
        return None if called.kind is _Kind.OTHER else _Value(called.kind, called.name, is_derived=called.is_derived)

    def _note_argument(self, keyword: ast.keyword, called: str) -> None:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        spelled = f"({keyword.arg}={value.lower()!r})" if isinstance(value, str) else None
        for use in (f"{called}({keyword.arg})", spelled and called + spelled):
            if use and (found := find_name(use)) and self.is_noting:
                self.uses.append(Use(keyword.value.lineno, found))

    def _foreign_call(self, node: ast.Call, word: str, arguments: list[_Value | None]) -> _Value | None:
        first = node.args[0] if node.args else None
        if word in _IMPORTERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
            if first.value.split(".")[0] in _ROOTS:
                self._note(node, first.value)
                return _Value(_Kind.MODULE, first.value)
        elif word == "append" and isinstance(node.func, ast.Attribute) and len(arguments) == 1:
            if (name := _dotted(node.func.value)) and (several := self._several(arguments[0])):
                self._scope.bind(name, several)
        elif word in ("list", "tuple", "sorted", "reversed", "iter") and len(arguments) == 1:
            return arguments[0]
        return None

    def _item(self, value: _Value | None) -> _Value | None:
        if value is None:
            return None
        if value.kind is _Kind.SEVERAL:
            return _Value(_Kind.INSTANCE, value.name, is_derived=value.is_derived)
        # An ensemble is a list of its models, too.
        models = NAMES.get(f"{value.name}.models") if value.kind is _Kind.INSTANCE else None
        return None if models is None else _Value(_Kind.INSTANCE, models.gives.strip("[]"))

    def _several(self, value: _Value | None) -> _Value | None:
        if value is None or value.kind is not _Kind.INSTANCE:
            return None
        return _Value(_Kind.SEVERAL, value.name, is_derived=value.is_derived)

    def _annotated(self, node: ast.expr) -> _Value | None:
        """Return what an annotation says of a value."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self._annotated(ast.copy_location(ast.parse(node.value, mode="eval").body, node))
            except SyntaxError:
                return None
        if isinstance(node, ast.BinOp):
            return self._annotated(node.left) or self._annotated(node.right)
        if isinstance(node, ast.Subscript):
            inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
            of = self._annotated(inner)
            word = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            return self._several(of) if word in _CONTAINERS else of if word == "Optional" else None
        if isinstance(node, ast.Name | ast.Attribute):
            value = self._value(node)
            if value is not None and value.kind is _Kind.CLASS:
                return _Value(_Kind.INSTANCE, value.name, is_derived=value.is_derived)
        return None

    def _quietly(self, node: ast.expr) -> _Value | None:
        """Return what is known of an expression that has been read already."""
        noting, self.is_noting = self.is_noting, False
        value = self._value(node)
        self.is_noting = noting
        return value


def _dotted(node: ast.expr) -> str:
    """Return the text of `a.b.c`, or nothing for any other expression."""
    names = list(_names_of(node))
    return ".".join(reversed(names)) if names and names[-1] else ""


def _names_of(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute):
        yield node.attr
        node = node.value
    yield node.id if isinstance(node, ast.Name) else ""
