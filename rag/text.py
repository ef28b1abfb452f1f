"""Words and sentences: the same for documents, questions and answers."""

from __future__ import annotations

import threading
import unicodedata
from functools import lru_cache

import regex
import Stemmer

# \p{M}: combining marks belong to the word; without them most Indic scripts fall apart at their vowel signs.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")

# Function words only. Longer public lists also drop words that people ask about ("system", "information").
STOP_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have having he her
    here hers herself him himself his how i if in into is it its itself just me more most my myself of off on
    once only or other our ours ourselves out over own please same she should so some such than that the their
    theirs them themselves then there these they this those through to too under until up us very was we were
    what when where which while who whom whose why will with would you your yours yourself yourselves s t d ll
    re ve m tell show give know must many much
    """.split()
)

_ABBREVIATIONS = frozenset(
    "e.g i.e etc vs cf dr mr mrs ms prof st no nos fig al ca approx inc ltd jr sr vol pp ed est u.s u.k".split()
)

_SENTENCE_END = regex.compile(r"(?:[.!?…]+[\"'”’)\]*_`]*(?=\s)|[。！？।॥]+[”’」』]*)\s*")

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero - two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
    if word != "-"
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100", "thousand": "1000"}

_UNITS = {
    name: names.split()[0]
    for names in (
        "ms millisecond", "s sec second", "min minute", "h hour", "day", "week", "month", "year", "b", "kb kilobyte",
        "mb megabyte", "gb gigabyte gib", "tb terabyte", "%  percent", "degree °c °f", "px pixel", "token", "word",
        "character", "chunk", "core", "m metre meter", "km kilometre kilometer", "kg kilogram", "usd dollar $",
        "euro € eur", "million", "billion",
    )
    for name in names.split()
}  # fmt: skip

_NUMBER = regex.compile(
    r"(?:(?<![\p{L}\p{N}_.,])(?P<sign>[-−])?(?P<digits>\d(?:[\d,.]*\d)?)|(?<=[\p{L}\p{N}_.,-])(?P<digits>\d(?:[\d,.]*\d)?)"
    r"|\b(?P<word>\L<words>)\b)(?:[\s-]?(?P<unit>[\p{L}°]+|[%$€]))?",
    words=list(_NUMBER_WORDS),
)

# A "sentence" of a list without full stops, or of a log, is cut, so that no single one fills a prompt.
_LONGEST_SENTENCE = 600

_stemmers = threading.local()


def words(text: str) -> list[str]:
    """
    The searchable words of a text: Unicode words, case and compatibility forms folded, stemmed, no stop words.

    A text of stop words alone has none, and neither has one of emoji. Identifiers are split at their
    punctuation, so `FOUNDRY_LOCAL_ENDPOINT` is found by any of its parts.

    >>> words("Where are the RUNNING routers?")
    ['run', 'router']
    >>> words("नेपाली भाषा")
    ['नेपाली', 'भाषा']
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [_stem(word) for word in _WORD.findall(folded) if word not in STOP_WORDS]


def numbers(text: str) -> set[tuple[str, str]]:
    """
    The numbers of a text with their units, as they must agree between an answer and its source.

    Number words count (`ten`, but not `one`, which is mostly a pronoun), signs count, separators do not. The unit
    is the word behind the number if it is one; otherwise it is empty.

    >>> sorted(numbers("1,024 tokens in 7.5 ms, gpt-oss-20b at -5 degrees"))
    [('-5', 'degree'), ('1024', 'token'), ('20', 'b'), ('7.5', 'ms')]
    """
    found = set()
    for match in _NUMBER.finditer(unicodedata.normalize("NFKC", text).casefold()):
        value = _NUMBER_WORDS.get(match["word"] or "") or match["digits"].replace(",", "").rstrip(".")
        unit = match["unit"] or ""
        found.add((("-" if match["sign"] else "") + value, _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"), "")))
    return found


def sentences(text: str) -> list[tuple[int, int]]:
    """
    Where the sentences of one paragraph are.

    Abbreviations and initials do not end a sentence; a text without any end is one sentence. What is longer than
    600 characters is cut at line ends, or else between words.

    Returns:
        Spans (start, end) in characters, without surrounding whitespace, in order.

    >>> text = "It is slow, e.g. at start. Wait!"
    >>> [text[start:end] for start, end in sentences(text)]
    ['It is slow, e.g. at start.', 'Wait!']
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if _ends_nothing(text, start, end):
            continue
        _add_stripped(spans, text, start, end.end())
        start = end.end()
    _add_stripped(spans, text, start, len(text))
    return spans


def estimate_tokens(text: str) -> int:
    """
    Roughly how many tokens a model will make of a text: a quarter of its Latin characters, half of the others.

    A budget, not a count: the true number depends on the model and comes back with its usage.
    """
    latin = sum(character < "ʰ" for character in text)
    return (latin + 3) // 4 + (len(text) - latin + 1) // 2


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    # A Snowball stemmer keeps state between calls, so each thread has its own.
    if not hasattr(_stemmers, "english"):
        _stemmers.english = Stemmer.Stemmer("english")
    stemmed: str = _stemmers.english.stemWord(word)
    return stemmed


def _ends_nothing(text: str, start: int, end: regex.Match[str]) -> bool:
    dot, after = end.start(), text[end.end() : end.end() + 1]
    mark = end.group().strip()
    if after.islower() and (mark[0] == "…" or mark[-1] in "\"'”’)]"):
        return True  # asked "why?" and went on
    before = text[max(start, dot - 12) : dot].split()
    if text[dot] != "." or not before:
        return False
    if dot - start < 12 and text[start:dot].strip().isdigit():
        return True  # the number of a list item
    last = before[-1].lstrip("(\"'“[")
    return last.casefold() in _ABBREVIATIONS or (len(last) == 1 and last.isupper() and last != "I")


def _add_stripped(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > _LONGEST_SENTENCE:
        limit = start + _LONGEST_SENTENCE
        cut = text.rfind("\n", start + 1, limit)
        if cut < 0:
            cut = max(text.rfind(" ", start + 1, limit), -1)
        cut = cut if cut > start else limit
        spans.append((start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        spans.append((start, end))
