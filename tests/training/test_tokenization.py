"""Tokenizers: every text comes back as it was, where nothing is unknown, and from their files, too."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.errors import CheckpointError, ConfigError
from smartml.training.input_config import TextSettings
from smartml.training.tokenization import SPECIALS, UNKNOWN, fit_tokenizer, load_tokenizer

TEXTS = ["the cat sat on the mat", "the dog sat", "naïve café ☕"]
BPE = TextSettings(tokenizer="bpe", split_on=None, adaptive_tokenizer_max_vocab_size=280)
KINDS = {
    "words": TextSettings(min_freq=1),
    "characters": TextSettings(min_freq=1, split_on=""),
    "bpe": BPE,
    "bytes": TextSettings(tokenizer="bytes", split_on=None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_were_learned_from_come_back(kind, tmp_path):
    tokenizer = fit_tokenizer(KINDS[kind], TEXTS)
    tokenizer.save(tmp_path)
    again = load_tokenizer(KINDS[kind], tmp_path)

    for text in TEXTS:
        tokens = tokenizer.encode(text)
        assert min(tokens) >= len(SPECIALS)
        assert max(tokens) < tokenizer.size == again.size
        assert tokenizer.decode(tokens) == again.decode(again.encode(text)) == text


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=40).filter(lambda it: it.isprintable()))
def test_no_text_is_unknown_to_tokenizers_of_bytes(kind, text):
    tokenizer = fit_tokenizer(KINDS[kind], TEXTS)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_rare_and_new_words_are_unknown():
    tokenizer = fit_tokenizer(TextSettings(min_freq=2), TEXTS)
    assert [token == UNKNOWN for token in tokenizer.encode("the cat sat")] == [False, True, False]


def test_basic_english_is_lower_case_words_and_punctuation():
    tokenizer = fit_tokenizer(TextSettings(tokenizer="basic_english", min_freq=1), ["Well, yes!"])
    assert tokenizer.decode(tokenizer.encode("YES, well!")) == "yes , well !"


def test_bpe_learns_pairs_until_its_vocabulary_is_full():
    tokenizer = fit_tokenizer(BPE, ["abababab"] * 20)
    assert len(tokenizer.encode("abab")) < 4
    with pytest.raises(ConfigError, match="is 100; bpe needs 261"):
        fit_tokenizer(TextSettings(tokenizer="bpe", adaptive_tokenizer_max_vocab_size=100), TEXTS)


def test_no_frequent_token_is_an_error_that_says_how_frequent_they_are():
    with pytest.raises(ConfigError, match=r"no token occurs 10 times .* 3 times"):
        fit_tokenizer(TextSettings(), TEXTS)


def test_a_vocabulary_may_be_given(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"cat": 1, "the": 0, "<unk>": 2}))
    tokenizer = fit_tokenizer(TextSettings(vocab_file=str(path)), [])

    assert tokenizer.encode("the cat dog") == [len(SPECIALS), len(SPECIALS) + 1, UNKNOWN]
    fit_tokenizer(BPE, TEXTS).save(tmp_path)
    saved = BPE.model_copy(update={"vocab_file": str(tmp_path / "bpe_tokenizer.json")})
    assert fit_tokenizer(saved, []).encode("the mat") == fit_tokenizer(BPE, TEXTS).encode("the mat")


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"model": 3}'])
def test_a_vocabulary_file_that_is_none_is_refused(content, tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"vocab\.json"):
        fit_tokenizer(TextSettings(vocab_file=str(path)), [])


def test_a_missing_vocabulary_of_a_run_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="vocabulary"):
        load_tokenizer(TextSettings(), tmp_path)


def test_a_tokenizer_has_to_be_named_where_texts_are_not_split():
    with pytest.raises(ValueError, match="a 'tokenizer' has to be named"):
        TextSettings(split_on=None)
