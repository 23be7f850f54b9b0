"""Text to the numbers of tokens, and back."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from smartml.errors import CheckpointError, ConfigError
from smartml.training.input_config import TextSettings

# Tokens that stand for no text, in front of every vocabulary: their numbers are 0 to 4.
SPECIALS = ("<bos>", "<unk>", "<mask>", "<pad>", "<eos>")
BOS, UNKNOWN, MASK, PAD, EOS = range(5)

_DEFAULT_BPE_SIZE = 30_000
_BYTES = 256
_VOCABULARY, _BPE = "vocab.json", "bpe_tokenizer.json"


class Tokenizer(Protocol):
    """Text to numbers from `len(SPECIALS)` on, or UNKNOWN, and back."""

    @property
    def size(self) -> int:
        """One more than the greatest number."""

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; special ones are left out."""

    def save(self, folder: Path) -> None:
        """Write what `load_tokenizer` needs to an existing folder."""


class Words:
    """Words, characters, or words and punctuation in lower case."""

    def __init__(self, numbers: Mapping[str, int], split_on: str | None, is_basic_english: bool) -> None:
        self._numbers, self._split_on, self._is_basic_english = dict(numbers), split_on, is_basic_english
        self._words = {number: word for word, number in self._numbers.items()}

    @property
    def size(self) -> int:
        return len(self._numbers)

    def encode(self, text: str) -> list[int]:
        return [self._numbers.get(word, UNKNOWN) for word in split(text, self._split_on, self._is_basic_english)]

    def decode(self, tokens: Sequence[int]) -> str:
        between = " " if self._split_on is None else self._split_on
        return between.join(self._words[token] for token in tokens if token >= len(SPECIALS))

    def save(self, folder: Path) -> None:
        (folder / _VOCABULARY).write_text(json.dumps(self._numbers, ensure_ascii=False), encoding="utf-8")
        ordered = "\n".join(json.dumps(word, ensure_ascii=False)[1:-1] for word in self._numbers)
        (folder / "vocab_ordered.txt").write_text(ordered, encoding="utf-8")


class Bytes:
    """The bytes of text in UTF-8."""

    size = len(SPECIALS) + _BYTES

    def encode(self, text: str) -> list[int]:
        return [byte + len(SPECIALS) for byte in text.encode("utf-8", "surrogatepass")]

    def decode(self, tokens: Sequence[int]) -> str:
        # What is generated may end within a character.
        return bytes(token - len(SPECIALS) for token in tokens if token >= len(SPECIALS)).decode("utf-8", "replace")

    def save(self, folder: Path) -> None:
        numbers = {name: number for number, name in enumerate(SPECIALS)}
        numbers |= {f"0x{byte:02x}": byte + len(SPECIALS) for byte in range(_BYTES)}
        (folder / _VOCABULARY).write_text(json.dumps(numbers), encoding="utf-8")


class Pairs:
    """Byte pair encoding, by the `tokenizers` library; it begins with single bytes, so that no text is unknown."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        # Half of a surrogate pair, which JSON can carry, is no text in UTF-8.
        return list(self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode([token for token in tokens if token >= len(SPECIALS)]))

    def save(self, folder: Path) -> None:
        self._tokenizer.save(str(folder / _BPE))
        numbers = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        (folder / _VOCABULARY).write_text(json.dumps(dict(numbers), ensure_ascii=False), encoding="utf-8")


def split(text: str, split_on: str | None, is_basic_english: bool) -> list[str]:
    """Take a text apart into words, or characters."""
    if is_basic_english:
        return re.findall(r"\w+|[^\w\s]", text.lower())
    if not split_on:
        return list(text)
    return [word for word in text.split(split_on) if word]


def fit_tokenizer(settings: TextSettings, texts: Iterable[str]) -> Tokenizer:
    """Make a tokenizer from its file, or from what is in the texts."""
    if settings.tokenizer == "bytes":
        return Bytes()
    if settings.vocab_file is not None:
        return _from_file(settings, Path(settings.vocab_file))
    if settings.tokenizer == "bpe":
        return _fit_pairs(settings, texts)
    is_basic_english = settings.tokenizer == "basic_english"
    counts = Counter(word for text in texts for word in split(text, settings.split_on, is_basic_english))
    words = sorted(word for word, count in counts.items() if count >= settings.min_freq and word not in SPECIALS)
    if not words:
        raise ConfigError(
            f"min_freq: no token occurs {settings.min_freq} times in the training samples, the most frequent one "
            f"{max(counts.values(), default=0)} times: lower it"
        )
    return Words(_numbered(words), settings.split_on, is_basic_english)


def _numbered(words: Iterable[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate((*SPECIALS, *words))}


def _fit_pairs(settings: TextSettings, texts: Iterable[str]) -> Pairs:
    size = settings.adaptive_tokenizer_max_vocab_size or _DEFAULT_BPE_SIZE
    if size < len(SPECIALS) + _BYTES:
        raise ConfigError(
            f"adaptive_tokenizer_max_vocab_size: is {size}; bpe needs {len(SPECIALS) + _BYTES} for single bytes and "
            "special tokens, and more for pairs"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Pairs(tokenizer)


def _from_file(settings: TextSettings, path: Path) -> Tokenizer:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"vocab_file: {path} is no JSON file that can be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"vocab_file: {path} holds {type(content).__name__}, not tokens with their numbers")
    if "model" in content:
        return _read_pairs(path)
    if not all(isinstance(number, int) for number in content.values()):
        raise ConfigError(f"vocab_file: {path} holds tokens whose numbers are not whole")
    words = [word for word in sorted(content, key=content.__getitem__) if word not in SPECIALS]
    return Words(_numbered(words), settings.split_on, settings.tokenizer == "basic_english")


def _read_pairs(path: Path) -> Pairs:
    try:
        pairs = Pairs(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:
        raise ConfigError(f"{path} is no saved tokenizer: {error}") from error
    if [pairs._tokenizer.token_to_id(name) for name in SPECIALS] != list(range(len(SPECIALS))):
        raise ConfigError(f"{path}: its first tokens must be {', '.join(SPECIALS)}")
    return pairs


def load_tokenizer(settings: TextSettings, folder: Path) -> Tokenizer:
    """Read a tokenizer from the folder where it was saved."""
    if settings.tokenizer == "bytes":
        return Bytes()
    try:
        if (folder / _BPE).exists():
            return _read_pairs(folder / _BPE)
        numbers: dict[str, Any] = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
        return Words(numbers, settings.split_on, settings.tokenizer == "basic_english")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder}: the vocabulary cannot be read: {error}") from error
