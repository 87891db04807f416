"""Step 3, one automaton over the literals of all rules: which words occur in this text?

pyahocorasick is hidden here. Its wheel takes `str` only, so bytes become Latin-1 text: one byte, one
character. One-byte words stay out of it: a quote or a colon occurs thousands of times in a JSON body and
each occurrence would pass through Python (64 KB: 2.6 ms inside, 0.6 ms outside).
"""

from __future__ import annotations

from collections.abc import Iterable

import ahocorasick

SHORT_TEXT_BYTES = 64
"""Up to here a set operation over the text finds the one-byte words fastest, beyond it one memchr for each."""


class Automaton:
    """Words to look for, all at once. Immutable, picklable, safe to share by fork."""

    __slots__ = ("_automaton", "_index_of_byte", "_one_byte_words", "_shortest")

    def __init__(self, words: Iterable[bytes]) -> None:
        """`words`: distinct and not empty, lower case where case should not matter.

        Raises ValueError for an empty word or one given twice.
        """
        automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        index_of_byte: dict[int, int] = {}
        shortest = 0
        for index, word in enumerate(words):
            if not word:
                raise ValueError("an empty word occurs everywhere; leave it out")
            if len(word) == 1:
                is_new = word[0] not in index_of_byte
                index_of_byte[word[0]] = index
            else:
                is_new = automaton.add_word(word.decode("latin-1"), index)
                shortest = min(shortest or len(word), len(word))
            if not is_new:
                raise ValueError(f"the word {word!r} is given twice; leave one out")
        if shortest:
            automaton.make_automaton()
        self._automaton = automaton if shortest else None
        self._shortest = shortest
        self._index_of_byte = index_of_byte
        self._one_byte_words = frozenset(index_of_byte)

    def find(self, text: bytes) -> set[int]:
        """Positions, in `words`, of every word that occurs in `text`. Bytes are compared as they are."""
        size = len(text)
        automaton = self._automaton
        if automaton is not None and size >= self._shortest:
            found = {index for _, index in automaton.iter(text.decode("latin-1"))}
        else:
            found = set()
        index_of_byte = self._index_of_byte
        if size <= SHORT_TEXT_BYTES:
            for byte in self._one_byte_words.intersection(text):
                found.add(index_of_byte[byte])
        else:
            for byte, index in index_of_byte.items():
                if byte in text:
                    found.add(index)
        return found
