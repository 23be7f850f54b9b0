"""Makes links of names: code such as `DataDownloader.stream` leads to its place in the reference, on every page."""

import re

import public_names
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


def names_by_words(names):
    """Map what people write to the full name, where it can mean only one: `Client`, `Client.put_tensor`."""
    found = {}
    for full, module in names.items():
        short = full.removeprefix(f"{module}.")
        # Members alone (`start`) are words of many classes.
        for words in {full, short}:
            found.setdefault(words, set()).add(full)
    return {words: full.pop() for words, full in found.items() if len(full) == 1}


class NameLinks(SphinxTransform):
    """Lets code that is a public name refer to it, and types in signatures to ours, where they are."""

    default_priority = 400

    def apply(self):
        known = names_by_words(public_names.all_names())
        for code in list(self.document.findall(nodes.literal)):
            text = re.sub(r"\(.*\)$", "", code.astext(), flags=re.DOTALL)
            if text in known and not isinstance(code.parent, (nodes.title, nodes.reference, addnodes.pending_xref)):
                link = self.reference_to(known[text])
                code.replace_self(link)
                link += code
        for signature in list(self.document.findall(addnodes.desc_signature)):
            for type_ in list(signature.findall(addnodes.pending_xref)):
                # Sphinx would look at all names for each type that is not ours.
                text = type_["reftarget"]
                type_.replace_self(
                    [*([self.reference_to(known[text], type_.children)] if text in known else type_.children)]
                )

    def reference_to(self, name, children=()):
        link = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=name, refexplicit=True, refwarn=True)
        link["refdoc"] = self.env.docname
        link += children
        return link


def setup(app):
    app.add_transform(NameLinks)
    return {"parallel_read_safe": True}
