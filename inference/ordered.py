"""What body part was ordered, as a header or a worklist item tells it (pure)."""

from collections.abc import Collection, Iterable, Iterator

from pydicom import Dataset

from inference.elements import items, text
from inference.regions import RegionMap
from inference.types import Code, Expectation, ExpectationSource


def expectation(
    header: Dataset, regions: RegionMap, sources: Collection[ExpectationSource] | None = None
) -> Expectation | None:
    """Return the body part that the header says was ordered, or None.

    The first source that names a known region decides, in the order of
    `ExpectationSource`: what the order says comes before what the operator typed, and
    Body Part Examined comes last, because modalities fill it with a default. The Request
    Attributes Sequence (PS3.3 Section 10.6) counts like the top level; the Anatomic Region
    Sequence counts as Body Part Examined, whose coded form it is (PS3.3 Section C.7.3.1).

    Parameters
    ----------
    header : Dataset
        A data set as received; broken values count as absent and never raise.
    regions : RegionMap
        The table of regions.
    sources : collection of ExpectationSource, optional
        Only these are read; all of them when not given.
    """
    for source, codes, texts in _said(header):
        if sources is not None and source not in sources:
            continue
        found = procedure_expectation(codes, texts, source, regions)
        if found is not None:
            return found
    return None


def _said(
    header: Dataset,
) -> Iterator[tuple[ExpectationSource, tuple[Code, ...], tuple[str, ...]]]:
    """Yield what each source of the header says, as codes and as texts, best first."""
    requests = [header, *items(header, "RequestAttributesSequence")]
    codes = _codes(i for r in requests for i in items(r, "RequestedProcedureCodeSequence"))
    source = ExpectationSource
    yield source.REQUESTED_PROCEDURE_CODE, codes, ()
    descriptions = tuple(text(request, "RequestedProcedureDescription") for request in requests)
    yield source.REQUESTED_PROCEDURE_DESCRIPTION, (), descriptions
    yield source.STUDY_DESCRIPTION, (), (text(header, "StudyDescription"),)
    yield source.SERIES_DESCRIPTION, (), (text(header, "SeriesDescription"),)
    steps = (text(header, "PerformedProcedureStepDescription"), text(header, "ProtocolName"))
    yield source.PERFORMED_PROTOCOL, (), steps
    anatomy = _codes(items(header, "AnatomicRegionSequence"))
    yield source.BODY_PART_EXAMINED, anatomy, (text(header, "BodyPartExamined"),)


LONGEST_WORDS = 256
"""Characters of a description that are kept."""


def unmapped_words(header: Dataset, regions: RegionMap) -> tuple[tuple[str, str], ...]:
    """Return what the header calls the procedure, and in which no region is found.

    Pairs of keyword and text: Requested Procedure Code, as ``value^meaning^scheme``, and
    Description, Protocol Name, and Performed Procedure Step Description. Each once.
    """
    requests = [header, *items(header, "RequestAttributesSequence")]
    keyword = "RequestedProcedureCodeSequence"
    said = [
        (keyword, f"{code.value}^{code.meaning}^{code.scheme}")
        for code in _codes(item for request in requests for item in items(request, keyword))
        if regions.region_for_code(code.scheme, code.value) is None
        and not regions.regions_in_text(code.meaning).regions
    ]
    described = [(request, "RequestedProcedureDescription") for request in requests]
    described += [(header, "ProtocolName"), (header, "PerformedProcedureStepDescription")]
    said += [
        (name, words)
        for source, name in described
        if (words := text(source, name)) and not regions.regions_in_text(words).regions
    ]
    clean = (
        (name, "".join(sign for sign in words if sign.isprintable())[:LONGEST_WORDS])
        for name, words in said
    )
    return tuple(dict.fromkeys(pair for pair in clean if pair[1].strip("^ ")))


def procedure_expectation(
    codes: Iterable[Code], texts: Iterable[str], source: ExpectationSource, regions: RegionMap
) -> Expectation | None:
    """Return the body part that an order names: by its codes, else by its texts.

    Parameters
    ----------
    codes : iterable of Code
        Each by its value, else by the words of its meaning.
    texts : iterable of str
        Descriptions, in any language of the table.
    """
    return _from_codes(codes, source, regions) or _from_texts(texts, source, regions)


def procedure_codes(item: Dataset) -> tuple[Code, ...]:
    """Return what a Modality Worklist item orders, as coded (PS3.4 Table K.6-1)."""
    return _codes(
        (
            *items(item, "RequestedProcedureCodeSequence"),
            *(
                code
                for step in items(item, "ScheduledProcedureStepSequence")
                for code in items(step, "ScheduledProtocolCodeSequence")
            ),
        )
    )


def procedure_texts(item: Dataset) -> tuple[str, ...]:
    """Return what a Modality Worklist item orders, in words (PS3.4 Table K.6-1)."""
    steps = items(item, "ScheduledProcedureStepSequence")
    return (
        text(item, "RequestedProcedureDescription"),
        *(text(step, "ScheduledProcedureStepDescription") for step in steps),
    )


def _codes(coded: Iterable[Dataset]) -> tuple[Code, ...]:
    """Coded concepts (PS3.3 Section 8.8); a broken part of one is empty."""
    return tuple(
        Code(
            scheme=text(item, "CodingSchemeDesignator"),
            value=text(item, "CodeValue"),
            meaning=text(item, "CodeMeaning"),
        )
        for item in coded
    )


def _from_codes(
    codes: Iterable[Code], source: ExpectationSource, regions: RegionMap
) -> Expectation | None:
    """Regions of coded concepts: by the code, else by the words of its meaning."""
    found: dict[str, None] = {}
    words: dict[str, None] = {}
    for code in codes:
        region = regions.region_for_code(code.scheme, code.value)
        if region is not None:
            found[region] = None
            words[f"{code.value} {code.scheme}"] = None
            continue
        match = regions.regions_in_text(code.meaning)
        found |= dict.fromkeys(match.regions)
        words |= dict.fromkeys(match.matched_words)
    return _expected(found, words, source)


def _from_texts(
    texts: Iterable[str], source: ExpectationSource, regions: RegionMap
) -> Expectation | None:
    matches = [regions.regions_in_text(text) for text in texts if text]
    found = dict.fromkeys(region for match in matches for region in match.regions)
    words = dict.fromkeys(word for match in matches for word in match.matched_words)
    return _expected(found, words, source)


def _expected(
    found: dict[str, None], words: dict[str, None], source: ExpectationSource
) -> Expectation | None:
    if not found:
        return None
    return Expectation(regions=tuple(found), source=source, matched_words=tuple(words))
