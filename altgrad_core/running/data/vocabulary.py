"""Learn a byte-pair vocabulary from text, as ranks that tiktoken encodes with."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator

from altgrad_core.errors import PluginError

BYTES = 256
AT_ONCE = 1 << 20  # characters; a library that counts pairs keeps what it is given in one part several times over


def learn_ranks(texts: Iterable[str], *, vocabulary: int, pieces: str) -> dict[bytes, int]:
    """The rank of every token, which is its number: the bytes, then merged pairs in the order they were learned.

    Text that is cut by the pattern `pieces` and encoded by tiktoken with these ranks gives the numbers that the
    `tokenizers` library, which learns them, gives itself. Where the text has too few pairs they are fewer.

    Raises:
        PluginError: the `tokenizers` library is not installed.
    """
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise PluginError('learning a vocabulary needs a package: pip install "altgrad[datasets]"') from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = letters_of_bytes()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=list(letters), show_progress=False)
    tokenizer.train_from_iterator(_parts(texts), trainer=trainer)
    result = {bytes(letters[letter] for letter in token): rank for token, rank in tokenizer.get_vocab().items()}
    return dict(sorted(result.items(), key=lambda item: item[1]))


def written(ranks: dict[bytes, int]) -> bytes:
    """The content of a file of ranks: on every line a token in base64, a space, and its rank."""
    return b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


def letters_of_bytes() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies, which are written as text (GPT-2's table)."""
    printable = [value for value in range(BYTES) if chr(value).isprintable() and chr(value) != " "]
    others = [value for value in range(BYTES) if value not in printable]
    return {chr(v): v for v in printable} | {chr(BYTES + place): v for place, v in enumerate(others)}


def _parts(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), AT_ONCE):
            yield text[start : start + AT_ONCE]
