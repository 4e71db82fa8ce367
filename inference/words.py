"""Finding the words of a table in free text, in many languages and spellings (pure)."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

NEGATION = "-"
"""In place of a region: the region named right after this word is not meant."""

NOTHING = ""
"""In place of a region: the phrase means no region, whatever its words mean alone."""

_IDEOGRAPHS = (
    "\u3040-\u30ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\uac00-\ud7af"  # Hangul syllables
)
_RUN = re.compile(rf"[{_IDEOGRAPHS}]+|\d+|[^\W\d_{_IDEOGRAPHS}]+")
_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPHS}]")
_LONGEST_PHRASE = 8
_LATIN_MARKS = range(0x0300, 0x0370)
_LETTERS_WITHOUT_MARKS = str.maketrans(
    {"\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})


def normalised(text: str) -> str:
    """Return `text` as space-separated runs of one script, without case and accents.

    Punctuation becomes a boundary, and so does a change between letters, digits and
    ideographs: ``"C-Spine/2V"`` is ``"c spine 2 v"``.
    """
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(mark for mark in folded if ord(mark) not in _LATIN_MARKS)
    composed = unicodedata.normalize("NFKC", bare).translate(_LETTERS_WITHOUT_MARKS)
    return " ".join(_RUN.findall(composed))


@dataclass(frozen=True, slots=True)
class WordMatch:
    """An entry of the table that a text holds."""

    word: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A word, ready to be compared with the tokens of a text."""

    tokens: tuple[tuple[str, bool], ...]
    """(literal, whether any ending may follow)."""

    match: WordMatch
    weak: bool

    @property
    def length(self) -> int:
        return sum(len(literal) + 1 for literal, _ in self.tokens)

    def fits(self, tokens: Sequence[str]) -> bool:
        """Whether `tokens` begin with this word."""
        return len(tokens) >= len(self.tokens) and all(
            token.startswith(literal) if open_ended else token == literal
            for token, (literal, open_ended) in zip(tokens, self.tokens, strict=False)
        )


@dataclass(frozen=True)
class Lexicon:
    """Words and what they stand for.

    Parameters
    ----------
    words : mapping of str to a collection of str
        A word as ``regions.yaml`` spells it (``*`` any ending, final ``?`` weak) and the
        region keys it stands for, or `NEGATION`, or `NOTHING`.
    """

    words: Mapping[str, Collection[str]]

    @cached_property
    def _by_first_literal(self) -> Mapping[str, list[_Entry]]:
        """Entries by the literal of their first token, the longest first."""
        found: dict[tuple[tuple[str, bool], ...], _Entry] = {}
        for word, regions in self.words.items():
            weak, plain = word.endswith("?"), word.removesuffix("?")
            for spelling in dict.fromkeys((plain, plain.translate(_UMLAUTS))):
                tokens = _tokens(spelling)
                known = found.get(tokens)
                merged = dict.fromkeys((*(known.match.regions if known else ()), *regions))
                found[tokens] = _Entry(
                    tokens,
                    WordMatch(known.match.word if known else plain, tuple(merged)),
                    weak and (known is None or known.weak),
                )
        index: dict[str, list[_Entry]] = {}
        for entry in sorted(found.values(), key=lambda e: (-e.length, e.tokens)):
            index.setdefault(entry.tokens[0][0], []).append(entry)
        return index

    def find(self, text: str) -> list[WordMatch]:
        """Return the matches in the order of the text, each stretch of it used once.

        Weak words are left out when a plain one matched; so is what follows a negation.
        """
        plain: list[WordMatch] = []
        weak: list[WordMatch] = []
        tokens = normalised(text).split()
        at, inside, negated = 0, 0, -1
        while at < len(tokens):
            # One sign more than any first literal has: what is cut is not taken for a whole word.
            head = tokens[at][inside : inside + self._longest_first_literal + 1]
            entry = self._longest_of([head, *tokens[at + 1 : at + _LONGEST_PHRASE]])
            is_negated = negated == at
            used = len(entry.tokens[0][0]) if entry is not None else 1
            if _IDEOGRAPH.match(head) and inside + used < len(tokens[at]):
                inside += used  # only ideographic tokens have inner words
            else:
                at += len(entry.tokens) if entry is not None else 1
                inside = 0
            if entry is None:
                continue
            if entry.match.regions == (NEGATION,):
                negated = at
            elif NOTHING not in entry.match.regions and not is_negated:
                (weak if entry.weak else plain).append(entry.match)
        return plain or weak

    @cached_property
    def _lengths(self) -> Mapping[str, list[int]]:
        """The lengths of the first literals by their first sign, the longest first."""
        found: dict[str, set[int]] = {}
        for literal in self._by_first_literal:
            found.setdefault(literal[0], set()).add(len(literal))
        return {sign: sorted(lengths, reverse=True) for sign, lengths in found.items()}

    @cached_property
    def _longest_first_literal(self) -> int:
        return max(map(len, self._by_first_literal), default=0)

    def _longest_of(self, ahead: Sequence[str]) -> _Entry | None:
        """Return the longest entry that `ahead` begins with."""
        best: _Entry | None = None
        for length in self._lengths.get(ahead[0][0], ()):
            for entry in self._by_first_literal.get(ahead[0][:length], ()):
                if (best is None or entry.length > best.length) and entry.fits(ahead):
                    best = entry
                    break
        return best


def _tokens(word: str) -> tuple[tuple[str, bool], ...]:
    """Return the tokens of a word of the table; an ideographic one may go on as it likes."""
    tokens = []
    for part in re.split(r"[\s\-/.,]+", word):
        literals = normalised(part).split()
        tokens += [(literal, bool(_IDEOGRAPH.match(literal))) for literal in literals]
        if literals and part.endswith("*"):
            tokens[-1] = (literals[-1], True)
    return tuple(tokens)
