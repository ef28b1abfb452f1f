"""Words and sentences: the same for documents, questions and answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import regex

from rag.languages import DEFAULT, fold, language_for, stem, stop_words

# \p{M}: combining marks belong to the word; without them most Indic scripts fall apart at their vowel signs.
# \p{Cf}: so do soft hyphens and joiners, which nobody sees.
_LETTERS = r"[\p{L}\p{M}\p{N}\p{Cf}]+"
# What a reader takes for one name: gpt-oss-20b, FOUNDRY_LOCAL_ENDPOINT, rag/library.py, 1.2.3, 2026-11-20, C++.
_NAME = regex.compile(rf"{_LETTERS}(?:(?:[-_./\\:@+#]{{1,3}}|(?<=\d),(?=\d)){_LETTERS}){{0,30}}(?:[+#]{{1,2}}(?!\w))?")
_PART = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_HUMP = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# Scripts that put no spaces between words, and Hangul, whose particles cling to them.
_RUN = regex.compile(
    r"(?P<han>\p{Han}+)|(?P<pairs>\p{Hiragana}+|[\p{Katakana}ー]+|\p{Hangul}+"
    r"|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{M}]*[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}][\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{M}]*)"
    r"|(?P<word>[^\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+)"
)
_CLUSTER = regex.compile(r"\X")
_LONGEST_NAME = 100
_MOST_KNOWN = 200_000

_ABBREVIATIONS = frozenset(
    "e.g i.e etc vs cf dr mr mrs ms prof st no nos fig al ca approx inc ltd jr sr vol pp ed est u.s u.k".split()
)

# A run of marks with spaces between them (. . .) is one end. No start is looked at twice: a line of dots is no end.
# (The other library would keep note of each mark.)
_SENTENCE_END = re.compile(r"(?:(?<![.!?…])[.!?…]++[\"'”’)\]*_`]*+(?=\s)\s*+|[。！？।॥]++[”’」』]*+\s*+)++")

# Two to twelve and twenty, as they are written in other languages.
_OTHER_NUMBER_WORDS = {
    word: value
    for words_of_one in (
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig",
        "deux trois quatre cinq six sept huit neuf dix onze douze vingt",
        "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte",
        "due tre quattro cinque sei sette otto nove dieci undici dodici venti",
        "dve tri štiri pet šest sedem osem devet deset enajst dvanajst dvajset",
        "twee drie vier vijf zes zeven acht negen tien elf twaalf twintig",
        "दुई तीन चार पाँच छ सात आठ नौ दस एघार बाह्र बीस",
    )
    for word, value in zip(words_of_one.split(), "2 3 4 5 6 7 8 9 10 11 12 20".split(), strict=True)
    if word not in ("six", "once", "due", "sei", "छ", "pet", "dove")
}
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero - two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
    if word != "-"
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100", "thousand": "1000"}
_NUMBER_WORDS |= _OTHER_NUMBER_WORDS

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

_known: dict[str, dict[str, tuple[str, ...]]] = {}


def words(text: str, language: str = DEFAULT) -> list[str]:
    """
    The searchable words of a text: folded (see `fold`), without function words, stemmed as their language does it.

    Names with punctuation, numbers and versions are there whole and in parts, so `FOUNDRY_LOCAL_ENDPOINT` is found
    by each of its parts and best by itself. Scripts without spaces give pairs of neighbouring characters; Chinese
    characters also count alone. A text of function words alone has none, and neither has one of emoji.

    Args:
        text: of a document, a question or an answer; the same words come of all of them.
        language: an ISO 639-1 code, as `language_of` gives it.

    >>> words("Where are the RUNNING routers?")
    ['run', 'router']
    >>> words("gpt-oss-20b, version 1,024.5")
    ['gpt', 'oss', '20b', 'gpt-oss-20b', 'version', '1024', '5', '1024.5']
    >>> words("नेपाली भाषा", "mr"), words("東京タワー", "ja")
    (['नेपाली', 'भाषा'], ['東', '京', '東京', 'タワ', 'ワー'])
    """
    known = _known.setdefault(language, {})
    if len(known) > _MOST_KNOWN:
        known.clear()
    found: list[str] = []
    for name in _NAME.findall(text):
        made = known.get(name)
        if made is None:
            made = known[name] = tuple(_words_of(name, language))
        found += made
    return found


def question_words(question: str, languages: Iterable[str]) -> list[str]:
    """
    The words of a question as documents of some languages have them; each language may make others.

    The question's own function words are none of them: beside German documents, `the` is still no word to look for.

    >>> question_words("What is the port of the routers?", ["de", "en"])
    ['port', 'rout', 'router']
    """
    languages = list(languages) or [DEFAULT]
    if len(languages) > 1:
        said = [fold(name) for name in _NAME.findall(question)]
        own = max(languages, key=lambda language: sum(name in stop_words(language) for name in said))
        telling = [name for name in _NAME.findall(question) if fold(name) not in stop_words(own)]
        question = " ".join(telling) or question
    asked: list[str] = []
    for language in languages:
        new = words(question, language)
        asked += [word for word in new if word not in asked] if asked else new
    return asked


def forget_words() -> None:
    """Empty what is kept of words, which were in texts that may be gone."""
    _known.clear()
    likeness.cache_clear()


def _words_of(name: str, language: str) -> list[str]:
    whole = _THOUSANDS.sub("", fold(name))
    parts = _PART.findall(whole)
    humps = [fold(hump) for part in _PART.findall(name) for hump in _HUMP.split(part)] if _HUMP.search(name) else parts
    found = [word for part in humps for word in _words_of_part(part, language)]
    if len(whole) > _LONGEST_NAME:
        return found
    if whole in parts:  # one plain word; streamToken is there in its two parts, and whole
        return found + [word for word in _words_of_part(whole, language) if word not in found]
    if whole in _ABBREVIATIONS or not (found or set("-_+#") & set(whole)):
        return []  # e.g, and/or
    if "/" in whole:
        found += [piece for piece in whole.split("/") if piece and not _PART.fullmatch(piece)]
    return [*found, whole]


def _words_of_part(part: str, language: str) -> list[str]:
    found = []
    for run in _RUN.finditer(part):
        if run["word"]:
            own = language_for(run["word"], language)
            if run["word"] not in stop_words(own):
                found.append(stem(run["word"], own))
            continue
        characters = _CLUSTER.findall(run[0])
        if run["han"] or len(characters) == 1:
            found += characters
        found += [one + other for one, other in pairwise(characters)]
    return found


@lru_cache(maxsize=100_000)
def likeness(word: str, other: str) -> float:
    """
    How much two words look like one, 0 to 1: Dice's coefficient of their groups of four letters, spaces included.

    >>> likeness("norman", "normandi") > 0.5 > likeness("norman", "roman")
    True
    """
    if word == other:
        return 1.0
    one, two = _groups(word), _groups(other)
    return 2 * len(one & two) / (len(one) + len(two))


def _groups(word: str) -> frozenset[str]:
    padded = f" {word} "
    return frozenset(padded[at : at + 4] for at in range(max(1, len(padded) - 3)))


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
        value = _NUMBER_WORDS.get(match["word"] or "") or _plain_number(match["digits"])
        unit = match["unit"] or ""
        found.add((("-" if match["sign"] else "") + value, _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"), "")))
    return found


def _plain_number(digits: str) -> str:
    # 1,024 is 1024; 7,5 is 7.5, as most of Europe writes it.
    plain: str = _THOUSANDS.sub("", digits)
    return plain.replace(",", ".").rstrip(".")


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
    return list(each_sentence(text))


def each_sentence(text: str) -> Iterator[tuple[int, int]]:
    """What `sentences` returns, one after the other."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if _ends_nothing(text, start, end):
            continue
        yield from _stripped(text, start, end.end())
        start = end.end()
    yield from _stripped(text, start, len(text))


def estimate_tokens(text: str) -> int:
    """
    Roughly how many tokens a model will make of a text: a quarter of its Latin characters, half of the others.

    A budget, not a count: the true number depends on the model and comes back with its usage.
    """
    latin = sum(character < "ʰ" for character in text)
    return (latin + 3) // 4 + (len(text) - latin + 1) // 2


def _ends_nothing(text: str, start: int, end: re.Match[str]) -> bool:
    dot, stop = end.span()
    if text[stop : stop + 1].islower() and (text[dot] == "…" or end[0].rstrip()[-1] in "\"'”’)]"):
        return True  # asked "why?" and went on
    before = text[max(start, dot - 12) : dot].split()
    if text[dot] != "." or not before:
        return False
    if dot - start < 12 and text[start:dot].strip().isdigit():
        return True  # the number of a list item
    last = before[-1].lstrip("(\"'“[")
    return last.casefold() in _ABBREVIATIONS or (len(last) == 1 and last.isupper() and last != "I")


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
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
        yield start, cut
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end
