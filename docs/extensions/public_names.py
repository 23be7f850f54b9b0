"""The directive `public-names`: describes every public name of a module, from its source.

    ```{public-names} smartml.feeds
    ```

Where only some of them are for users, the option `:names:` lists those.

The sources are read by griffe and never imported, so that the site needs no framework, and names that a package
imports lazily are found like all others. Docstrings are Markdown, as the pages are.
"""

import re
from functools import cache
from pathlib import Path

import griffe
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]


@cache
def package():
    """Read all of smartml once for each build."""
    return griffe.load("smartml", search_paths=[ROOT], resolve_aliases=True, resolve_external=False)


def module(name):
    return package()[name.removeprefix("smartml").lstrip(".")] if name != "smartml" else package()


def public_names(name):
    """List what a module offers: what its page says, or `__all__`, or all classes and functions that it defines."""
    found = module(name)
    if chosen := described_modules().get(name):
        return chosen
    if found.exports is not None:
        return sorted((str(export) for export in found.exports), key=str.lower)
    return [member for member, it in found.members.items() if not member.startswith("_") and is_defined(it)]


def is_defined(member):
    return not member.is_alias and (member.is_class or member.is_function)


def home(name, public):
    """Name the module that describes what several offer: the shortest one, which people import it from."""
    target = resolved(module(name)[public]).path
    offering = [it for it in described_modules() if public in public_names(it) and target_of(it, public) == target]
    return min(offering, key=lambda it: (it.count("."), it), default=name)


def target_of(name, public):
    return resolved(module(name)[public]).path


def resolved(member):
    return member.final_target if member.is_alias else member


@cache
def described_modules():
    """Map the modules that have their place in the reference to names chosen there, as the pages say."""
    pages = [page.read_text() for page in sorted((ROOT / "docs/reference").glob("*.md"))]
    written = r"^```\{public-names\} (\S+)(?:\n:names: (.*))?$"
    return {name: chosen.split() for page in pages for name, chosen in re.findall(written, page, re.MULTILINE)}


@cache
def all_names():
    """Map every name that the reference describes, members of classes too, to what it is of: name to module."""
    found = {}
    for name in described_modules():
        for public in public_names(name):
            if home(name, public) != name:
                continue
            found[f"{name}.{public}"] = name
            member = resolved(module(name)[public])
            if member.is_class:
                found.update({f"{name}.{public}.{it}": name for it in public_members(member)})
    return found


def public_members(described):
    """Map the public members of a class to their names, and those inherited from classes that are not public."""
    inherited = {
        name: it for name, it in described.inherited_members.items() if resolved(it).parent.path not in public_classes()
    }
    members = {name: resolved(it) for name, it in {**described.members, **inherited}.items()}
    return {name: it for name, it in members.items() if not (name.startswith("_") or it.is_class or it.is_module)}


@cache
def public_classes():
    """Map the classes that the reference describes to their names there, by where they are defined."""
    found = {}
    for name in described_modules():
        for public in public_names(name):
            member = resolved(module(name)[public])
            if member.is_class:
                found[member.path] = f"{home(name, public)}.{public}"
    return found


class PublicNames(SphinxDirective):
    """Describe the public names of the module that is its argument."""

    required_arguments = 1
    # Read by described_modules, for all pages at once.
    option_spec = {"names": str}

    def run(self):
        name = self.arguments[0]
        for path in ROOT.glob("smartml/**/*.py"):
            self.env.note_dependency(str(path))
        text = "\n\n".join([f"```{{py:module}} {name}\n```", docstring(module(name)), *descriptions(name)])
        return self.parse_text_to_nodes(text)


def descriptions(name):
    return [description(name, public) for public in public_names(name)]


def description(name, public):
    described = resolved(module(name)[public])
    described_at = home(name, public)
    if described_at != name:
        # Nothing is said twice, and both names are found.
        first_line = docstring(described).partition("\n")[0]
        return fence("class", public, f"{first_line}\n\nThe same as `{described_at}.{public}`.")
    if described.is_class:
        members = [member_description(described, *it) for it in public_members(described).items()]
        body = "\n\n".join([bases(described), docstring(described), *members])
        options = {"canonical": described.path} if described.path != f"{name}.{public}" else {}
        return fence("class", f"{public}{parameters(described, bound=True)}", body, options)
    if described.is_function:
        return fence("function", f"{public}{signature(described)}", docstring(described))
    return fence("data", public, docstring(described), value_options(described))


def bases(described):
    """Name the public classes that a class is one of, and of which it has everything that is not said again."""
    public = [public_classes()[base.path] for base in described.mro() if base.path in public_classes()]
    return f"Has what {' and '.join(f'`{name}`' for name in public)} has." if public else ""


def member_description(owner, name, member):
    if member.is_function:
        # An abstract method's own words serve those that fill it in without any.
        text = docstring(member) or inherited_docstring(owner, name)
        options = {kind: "" for kind in ("classmethod", "staticmethod", "async") if kind in member.labels}
        bound = "staticmethod" not in member.labels
        return fence("method", f"{name}{signature(member, bound)}", text, options, depth=4)
    if "property" in member.labels:
        options = {"type": member.annotation} if member.annotation else {}
        return fence("property", name, docstring(member) or inherited_docstring(owner, name), options, depth=4)
    return fence("attribute", name, docstring(member) or comment(member), value_options(member), depth=4)


def comment(member):
    """Read the comment above an attribute, where our sources explain it."""
    # Of an attribute that is only annotated, griffe knows the line as well.
    lines = source_lines(member.filepath)[: (member.lineno or 1) - 1]
    said = []
    while lines and (found := re.fullmatch(r"\s*# ?(.*)", lines[-1])):
        said.insert(0, found[1])
        lines = lines[:-1]
    return "\n".join(said)


@cache
def source_lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def inherited_docstring(owner, name):
    for base in owner.mro():
        if name in base.members and (text := docstring(resolved(base.members[name]))):
            return text
    return ""


def value_options(member):
    options = {"type": member.annotation} if member.annotation else {}
    value = str(member.value) if member.value is not None else ""
    # A call or a long table is of no use to a reader.
    return options | ({"value": value} if value and len(value) < 40 and "field(" not in value else {})


def signature(function, bound=False):
    answer = f" -> {function.returns}" if function.returns else ""
    return parameters(function, bound) + answer


def parameters(described, bound=False):
    """Write parameters as they are in the source, without `self`."""
    kinds = griffe.ParameterKind
    given = list(described.parameters)
    if bound and given and given[0].name in ("self", "cls"):
        given = given[1:]
    words, starred = [], False
    for number, parameter in enumerate(given):
        if parameter.kind is kinds.keyword_only and not starred:
            words.append("*")
            starred = True
        starred = starred or parameter.kind is kinds.var_positional
        stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(parameter.kind, "")
        word = f"{stars}{parameter.name}"
        if parameter.annotation:
            word += f": {parameter.annotation}"
        if parameter.default is not None and not stars:
            word += f" = {parameter.default}" if parameter.annotation else f"={parameter.default}"
        words.append(word)
        following = given[number + 1].kind if number + 1 < len(given) else None
        if parameter.kind is kinds.positional_only and following is not kinds.positional_only:
            words.append("/")
    return f"({', '.join(words)})"


def docstring(described):
    text = described.docstring.value.strip() if described.docstring else ""
    return "\n\n".join(map(as_drawn, text.split("\n\n")))


def as_drawn(paragraph):
    """Keep the lines of a tree as they are; Markdown would make a paragraph of them."""
    return f"```text\n{paragraph}\n```" if re.search("[├└│]", paragraph) else paragraph


def fence(kind, subject, body, options=None, depth=8):
    """Write a directive of Sphinx's domain of Python as MyST; members, which are deeper, have shorter fences."""
    marks = "`" * depth
    if depth < 8:
        # The list of what is on a page names classes and functions.
        options = {**(options or {}), "no-contents-entry": ""}
    subject = " ".join(subject.split())
    lines = [f":{name}: {quoted(value)}".rstrip() for name, value in (options or {}).items()]
    return "\n".join([f"{marks}{{py:{kind}}} {subject}", *lines, "", body.strip(), marks])


def quoted(value):
    """Write the value of an option as YAML, which would take quotes of Python for its own."""
    words = " ".join(str(value).split())
    return "'" + words.replace("'", "''") + "'" if words else ""


def setup(app):
    app.add_directive("public-names", PublicNames)
    app.connect("builder-inited", forget)
    return {"parallel_read_safe": True}


def forget(app):
    """Read the sources anew in each build, also within one process."""
    for function in (package, described_modules, public_classes, all_names, source_lines):
        function.cache_clear()
