"""Step 3, one automaton over the literals of all rules: which words occur in this text?

pyahocorasick is hidden here. Its wheel takes `str` only, so bytes become Latin-1 text: one byte, one
character. One-byte words stay out of it: a quote or a colon occurs thousands of times in a JSON body and
each occurrence would pass through Python (64 KB: 2.6 ms inside, 0.6 ms outside).
"""

from __future__ import annotations

from collections.abc import Iterable

import ahocorasick


class Automaton:
    """Words to look for, all at once. Immutable, safe to share by fork."""

    __slots__ = ("_automaton", "_shortest", "byte_words", "word_of_byte")

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
        self.word_of_byte: dict[int, int] = index_of_byte
        self.byte_words: frozenset[int] = frozenset(index_of_byte)

    def find_words(self, text: bytes) -> set[int]:
        """Positions, in `words`, of every word of two bytes and more that occurs in `text`, bytes as they are."""
        return {index for _, index in self.occurrences(text)}

    def occurrences(self, text: bytes) -> Iterable[tuple[int, int]]:
        """(where it ends, position in `words`) of every occurrence of a word of two bytes and more."""
        if len(text) < self._shortest or self._automaton is None:
            return ()
        found: Iterable[tuple[int, int]] = self._automaton.iter(text.decode("latin-1"))
        return found

    def find(self, text: bytes) -> set[int]:
        """Positions, in `words`, of every word that occurs in `text`. Bytes are compared as they are."""
        word_of_byte = self.word_of_byte
        return self.find_words(text).union(word_of_byte[byte] for byte in self.byte_words.intersection(text))
