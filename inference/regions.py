"""The table of body regions: words, codes, containment, and what a network can see.

The table itself is ``data/regions.yaml``, whose head explains it; a site may lay a file of
its own over it. This module loads, checks and asks it. Regions are named by the Body Part
Examined terms of PS3.16 Annex L (``SINUS`` has none there) and coded in SNOMED CT.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.errors import InvalidConfiguration
from inference.types import Code
from inference.words import NEGATION, NOTHING, Lexicon, normalised

_Words = Annotated[dict[str, list[str]], Field(default_factory=dict)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region of the table."""

    key: str
    code: Code | None
    name: str
    """What a sentence for a technologist calls it."""

    paired: bool
    """Whether left and right exist."""

    coded_as: tuple[tuple[str, str], ...]
    """Further (scheme, value) pairs with the same or a narrower meaning."""

    seen_as: tuple[str, ...]
    """Regions whose images show this one; empty where no network can check it."""

    accepts: tuple[str, ...]
    """Smaller regions whose images fulfil an order for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMatch:
    """What a free text names."""

    regions: tuple[str, ...] = ()
    """Region keys in the order of the text, each once."""

    matched_words: tuple[str, ...] = ()
    """Entries of the table, never the text itself."""


@dataclass(frozen=True)
class RegionMap:
    """The whole table, checked. Made by `load_regions`."""

    regions: Mapping[str, Region]
    labels: Mapping[str, str]
    lexicon: Lexicon
    sha256: str
    """Of the shipped table and the site's own, as they were read."""

    @cached_property
    def _codes(self) -> Mapping[tuple[str, str], str]:
        codes = {pair: key for key, region in self.regions.items() for pair in region.coded_as}
        own = {
            (region.code.scheme, region.code.value): key
            for key, region in self.regions.items()
            if region.code is not None
        }
        return codes | own

    @cached_property
    def _showing(self) -> Mapping[str, frozenset[str]]:
        return {
            key: frozenset(seen for part in _contained(key, self.regions) for seen in part.seen_as)
            for key in self.regions
        }

    def regions_in_text(self, text: str) -> RegionMatch:
        """Return the regions that `text` names, in any language of the table.

        Examples
        --------
        >>> load_regions().regions_in_text("XR KNEE AND LOWER LEG").regions
        ('KNEE', 'LOWERLEG')
        """
        matches = self.lexicon.find(text)
        regions = dict.fromkeys(region for match in matches for region in match.regions)
        words = dict.fromkeys(match.word for match in matches)
        return RegionMatch(regions=tuple(regions), matched_words=tuple(words))

    def region_for_code(self, scheme: str, value: str) -> str | None:
        """Return the region that a code names (PS3.3 Section 8.8), or None.

        ``99SDM`` and ``SNM3`` are older names of the SRT scheme (PS3.16 Section 8).
        """
        scheme = {"99SDM": "SRT", "SNM3": "SRT"}.get(scheme, scheme)
        return self._codes.get((scheme, value))

    def region_of_label(self, key: str) -> str | None:
        """Return the region that a network's output of this key stands for, or None."""
        return self.labels.get(key) or (key if key in self.regions else None)

    def showing(self, region: str) -> frozenset[str]:
        """Return the regions that an image may show to fulfil an order for `region`.

        Empty when no network of the table's labels can tell.
        """
        return self._showing[region]

    def name(self, region: str) -> str:
        """Return what to call `region` in a sentence."""
        return self.regions[region].name


class _RegionEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    code: tuple[str, str, str] | None = None
    name: str | None = None
    paired: bool | None = None
    coded_as: list[tuple[str, str]] = []
    seen_as: list[str] | None = None
    accepts: list[str] | None = None
    words: _Words


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[str, str] = {}
    negations: list[str] = []
    ignore: list[str] = []
    regions: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], _RegionEntry] = {}


def load_regions(override: Path | None = None) -> RegionMap:
    """Return the shipped table, with a site's own laid over it.

    Parameters
    ----------
    override : Path, optional
        YAML of the same form (setting ``inference.region_map_file``).

    Raises
    ------
    InvalidConfiguration
        With every problem of the override at once.
    """
    shipped = resources.files("inference").joinpath("data/regions.yaml")
    texts = [shipped.read_text(encoding="utf-8")]
    tables = [_parsed(texts[0], "regions.yaml")]
    if override is not None:
        try:
            texts.append(override.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration([f"{override.name}: cannot be read as UTF-8"]) from error
        tables.append(_parsed(texts[-1], override.name))
    regions: dict[str, Region] = {}
    for table in tables:
        for key, entry in table.regions.items():
            regions[key] = _laid_over(regions.get(key), key, entry)
    labels = {label: region for table in tables for label, region in table.labels.items()}
    if problems := _problems(regions, labels, tables):
        raise InvalidConfiguration(problems)
    return RegionMap(
        regions=MappingProxyType(regions),
        labels=MappingProxyType(labels),
        lexicon=Lexicon(_merged_words(tables)),
        sha256=hashlib.sha256("\0".join(texts).encode()).hexdigest(),
    )


def _parsed(text: str, name: str) -> _Table:
    try:
        document = yaml.safe_load(text)
        return _Table.model_validate({} if document is None else document)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InvalidConfiguration([f"{name}: is not YAML{where}"]) from error
    except ValidationError as error:
        raise InvalidConfiguration(
            [
                f"{name}: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors()
            ]
        ) from error


def _laid_over(below: Region | None, key: str, entry: _RegionEntry) -> Region:
    def pick(value: Any, attribute: str, default: Any) -> Any:
        if value is not None:
            return value
        return getattr(below, attribute) if below is not None else default

    code = entry.code and Code(scheme=entry.code[0], value=entry.code[1], meaning=entry.code[2])
    own_codes = tuple(dict.fromkeys((*(below.coded_as if below else ()), *entry.coded_as)))
    return Region(
        key=key,
        code=pick(code, "code", None),
        name=pick(entry.name, "name", key.lower()),
        paired=pick(entry.paired, "paired", False),
        coded_as=own_codes,
        seen_as=tuple(pick(entry.seen_as, "seen_as", ())),
        accepts=tuple(pick(entry.accepts, "accepts", ())),
    )


def _problems(
    regions: Mapping[str, Region], labels: Mapping[str, str], tables: list[_Table]
) -> list[str]:
    """Every reference that leads nowhere, every code or word that cannot be used."""
    problems = [
        f"labels.{label}: names an unknown region"
        for label, region in labels.items()
        if region not in regions
    ]
    for key, region in regions.items():
        for attribute in ("seen_as", "accepts"):
            problems += [
                f"regions.{key}.{attribute}: {other} is not a region"
                for other in getattr(region, attribute)
                if other not in regions
            ]
    owners: dict[tuple[str, str], str] = {}
    for key, region in regions.items():
        own = [(region.code.scheme, region.code.value)] if region.code is not None else []
        for pair in (*own, *region.coded_as):
            if owners.setdefault(pair, key) != key:
                problems.append(f"regions.{key}: code {pair} belongs to {owners[pair]} too")
    problems += [
        f"regions.{key}.words.{language}: {word!r} holds no letter"
        for table in tables
        for key, entry in table.regions.items()
        for language, words in entry.words.items()
        for word in words
        if not normalised(word)
    ]
    return problems


def _merged_words(tables: list[_Table]) -> dict[str, dict[str, None]]:
    """Return word -> the regions (or marks) it stands for; a later table's word wins."""
    merged: dict[str, dict[str, None]] = {}
    for table in tables:
        layer: dict[str, dict[str, None]] = {}
        for key, entry in table.regions.items():
            for words in entry.words.values():
                for word in words:
                    layer.setdefault(_spelling(word), {})[key] = None
        for mark, phrases in ((NEGATION, table.negations), (NOTHING, table.ignore)):
            layer |= {_spelling(phrase): {mark: None} for phrase in phrases}
        for word in layer:
            # A weak and a plain form of one word are one word to a site that moves it.
            merged.pop(word.removesuffix("?"), None)
            merged.pop(word.removesuffix("?") + "?", None)
        merged |= layer
    return merged


def _spelling(word: str) -> str:
    """One spelling for words that differ in case or Unicode form only."""
    return unicodedata.normalize("NFC", word).strip().lower()


def _contained(key: str, regions: Mapping[str, Region]) -> list[Region]:
    """Return the region and everything it accepts, however deep."""
    seen: dict[str, None] = {}
    waiting = [key]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen[current] = None
            waiting += regions[current].accepts
    return [regions[part] for part in seen]
