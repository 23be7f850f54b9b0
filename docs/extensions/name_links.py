"""Makes links of names: code such as `DataDownloader.stream` leads to its place in the reference, on every page."""

import re
from functools import cache

import public_names
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


@cache
def names_by_words():
    """Map what people write to the full name, where it can mean only one: `Client`, `Client.put_tensor`."""
    found = {}
    for full, module in public_names.all_names().items():
        # Members alone (`start`) are words of many classes.
        for words in {full, full.removeprefix(f"{module}.")}:
            found.setdefault(words, set()).add(full)
    return {words: full.pop() for words, full in found.items() if len(full) == 1}


class NameLinks(SphinxTransform):
    """Lets code that is a public name refer to it, and types in signatures to ours, where they are."""

    default_priority = 400

    def apply(self):
        known = names_by_words()
        for code in list(self.document.findall(nodes.literal)):
            text = re.sub(r"\(.*\)$", "", code.astext(), flags=re.DOTALL)
            if text in known and not isinstance(code.parent, (nodes.title, nodes.reference, addnodes.pending_xref)):
                link = self.reference_to(known[text])
                code.replace_self(link)
                link += code
        for signature in list(self.document.findall(addnodes.desc_signature)):
            for type_ in list(signature.findall(addnodes.pending_xref)):
                # Sphinx would look at all names for each type that is not ours.
                name = known.get(type_["reftarget"])
                type_.replace_self(self.reference_to(name, type_.children) if name else type_.children)

    def reference_to(self, name, children=()):
        link = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=name, refexplicit=True, refwarn=True)
        link["refdoc"] = self.env.docname
        link += children
        return link


def setup(app):
    app.add_transform(NameLinks)
    app.connect("builder-inited", lambda _: names_by_words.cache_clear())
    return {"parallel_read_safe": True}
