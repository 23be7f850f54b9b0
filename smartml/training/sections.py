"""What every section of a configuration has in common: typed keys, and an answer to keys that nobody knows."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from smartml.store.similar import nearest_names


class Section(BaseModel):
    """A mapping of known keys; what stands under a field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if values is None:
            # A section of which every key was left out.
            return {}
        if not isinstance(values, Mapping):
            raise PydanticCustomError("no_section", "must be a section of keys and values")
        known = cls.known_keys()
        if unknown := [key for key in values if key not in known]:
            raise PydanticCustomError("unknown_key", "{words}", {"words": _word_unknown(unknown, known)})
        return values

    @classmethod
    def known_keys(cls) -> list[str]:
        """List the keys as they are written in a file."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    def written(self) -> dict[str, Any]:
        """Return all keys with their values, defaults filled in, as a file would have them."""
        return self.model_dump(mode="json", by_alias=True)


def _word_unknown(unknown: list[Any], known: list[str]) -> str:
    sentences = []
    for key in unknown:
        near = nearest_names(str(key), known)
        sentences.append(f"unknown key {key!r}" + (f", perhaps {' or '.join(map(repr, near))}" if near else ""))
    return f"{'; '.join(sentences)}; known are {', '.join(known)}"
