"""Languages: telling which one a text is in, its function words, and its stems."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

import py3langid
import regex
import Stemmer
from stop_words import get_stop_words

# Function words only. Longer public lists also drop words that people ask about ("system", "information").
_ENGLISH = """
    a about above after again against all am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have having he her
    here hers herself him himself his how i if in into is it its itself just me more most my myself of off on
    once only or other our ours ourselves out over own please same she should so some such than that the their
    theirs them themselves then there these they this those through to too under until up us very was we were
    what when where which while who whom whose why will with would you your yours yourself yourselves s t d ll
    re ve m tell show give know must many much
"""
# What the library of stop words does not have.
_MORE = {
    "sl": """
        a ali ampak bi bil bila bile bili bilo bo bodo bom bomo boste če da do ga ga gre h ima imajo in iz ja jaz je
        jih jo k kaj kako kakšen kakšna kakšno kam kar kateri katera katero katere kdaj kdo ker ki kje ko koliko kot
        lahko le me med mi mu na nad naj nam ne nek ni nič njegov njen njih o ob od on ona oni po pod pred pri s saj
        sam se sem si smo so ste sta su ta tam te tega tem ti tisti to tu tudi v vam vas ve več vendar vi vse vsi z za
        zakaj zato že
    """,
    "ne": """
        अथवा अनि अन्य अब अरू आदि उनी उनको ऊ एक एउटा कति कसरी कसले कस्तो कहाँ कहिले का कि किन कुन के को कोही गर्न
        गर्ने गर्नुहोस् गरी गरेको चाहिँ छ छन् छैन जब जस्तै जसरी जसले जुन जे जो त तथा तर तिनी तिमी तपाईं तपाईंको त्यो
        त्यस थियो द्वारा न नै पछि पनि भने भन्दा भएको भयो म मा माथि मात्र मेरो यति यदि यस यसको यसरी यहाँ यो र लागि
        ले लाई वा सँग सक्छ सबै सो हरू हाम्रो हामी हुन हुन् हुने हुन्छ हो
    """,
}
_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
_STOP_NAMES = {"nb": "no", "nn": "no"}

_LATIN = regex.compile(r"\p{Latin}")
_LETTER = regex.compile(r"\p{L}")
_CODE = regex.compile(r"(?s)```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<!--.*?(?:-->|\Z)")
# Below this many letters a guess is mostly wrong.
_ENOUGH_LETTERS = 60
_LOOKED_AT = 2_000
_local = threading.local()

DEFAULT = "en"


def language_of(text: str) -> str:
    """
    The language that a text is most likely in, as an ISO 639-1 code; English where there is too little to tell.

    Looks at the beginning and the middle of the text, and not at its code.

    Source: py3langid (Lui and Baldwin 2012), which knows 97 languages.

    >>> language_of("Kateri je privzeti port storitve? Ogrejte model z majhnim zaporedjem pozivov, če je bil naložen.")
    'sl'
    """
    middle = max(len(text) // 2, _LOOKED_AT)
    sample = _CODE.sub(" ", f"{text[:_LOOKED_AT]} {text[middle : middle + _LOOKED_AT]}")
    letters = _LETTER.findall(sample)
    if len(letters) < _ENOUGH_LETTERS:
        # Few letters of another script still tell more than English would.
        return DEFAULT if not letters or _LATIN.match(letters[0]) else str(py3langid.classify(sample)[0])
    return str(py3langid.classify(sample)[0])


@cache
def stop_words(language: str) -> frozenset[str]:
    """The function words of a language, case and accents folded; empty for a language without a list."""
    if language == "en":
        return frozenset(_ENGLISH.split())
    if language in _MORE:
        found = _MORE[language].split()
    else:
        try:
            found = get_stop_words(_STOP_NAMES.get(language, language))
        except Exception:  # the library's own kind of error, which is nothing to a reader
            return frozenset()
    return frozenset(part for word in found for part in fold(word).replace("'", " ").replace("’", " ").split())


def fold(word: str) -> str:
    """
    A word without what makes the same word look different: case, compatibility forms, accents, invisible marks.

    Accents go where they are accents (Latin, Greek, ё); the signs of Indic scripts are letters and stay.

    >>> fold("Čas"), fold("Ｆｏｕｎｄｒｙ"), fold("ΆΛΦΑ"), fold("नेपाली"), fold("५२७३")
    ('cas', 'foundry', 'αλφα', 'नेपाली', '5273')
    """
    if word.isascii():
        return word.lower()
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", word)).casefold()
    if text.isascii():
        return text
    text = _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", text))
    text = unicodedata.normalize("NFC", _VOWEL_POINTS.sub("", text)).translate(_SAME_LETTER)
    return "".join(str(unicodedata.digit(one)) if one.isdigit() and not one.isascii() else one for one in text)


# Soft hyphens, joiners and direction marks are seen by no reader.
_INVISIBLE = regex.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff\u061c\u202a-\u202e]")
_ACCENTED = regex.compile(r"([\p{Latin}\p{Greek}])\p{Mn}+|(?<=е)\u0308")
_VOWEL_POINTS = regex.compile(r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670\u0640]")
_SAME_LETTER = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ı": "i", "ł": "l", "ø": "o", "đ": "d"})


def language_for(word: str, language: str) -> str:
    """The language of one word of a text: Latin words among another script (`model` in Nepali) are English."""
    return DEFAULT if language not in _LATIN_LANGUAGES and _LATIN.match(word) else language


def stem(word: str, language: str) -> str:
    """The stem of a folded word, by the Snowball rules of its language; the word itself where there are none."""
    name = _STEMMERS.get(language)
    if name is None:
        return word
    # A Snowball stemmer keeps state between calls, so each thread has its own.
    stemmers: dict[str, Stemmer.Stemmer] = _local.__dict__.setdefault("stemmers", {})
    if name not in stemmers:
        stemmers[name] = Stemmer.Stemmer(name)
    stemmed: str = stemmers[name].stemWord(word)
    return stemmed or word


#: Languages with stems or function words of their own.
LANGUAGES = tuple(sorted({*_STEMMERS, *_MORE}))
_LATIN_LANGUAGES = frozenset(
    "af an br bs ca cs cy da de en eo es et eu fi fr ga gl hr ht hu id is it jv ku la lb lt lv mg ms mt nb nl nn no oc "
    "pl pt qu ro rw se sk sl sq sv sw tl tr vi vo wa xh zu".split()
)
