"""Follow-up questions: 'And its port?' is searched for with the subject of the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from rag.prompts import Turn
from rag.text import words

# So many earlier questions are looked at; what was asked before them is another subject by now.
_TURNS = 6
# Of these many words the first are the latest ones; more of them drown the words of the question itself.
_MOST_CARRIED = 4
# For the choice of sentences, a word carried over counts half as much as one that was asked for.
_CARRIED_WEIGHT = 0.5
# A single word that is less rare than this share of the rarest ('default', 'limit') names no subject.
_TELLING = 0.4
# Who writes more than this, in characters, names the subject.
_LONGEST = 300

# A cue that is missed leaves a question as it was typed, so the lists are short. Outside of English they have no word
# that is a common one in another language of these: 'es' is German for 'it' and Spanish for 'is'.
_GOES_ON = frozenset("and but or so then also und oder aber et mais ou y e o pero pa अनि र तर".split())
_GOES_ON_IN_TWO = frozenset(
    ["what about", "how about", "what if", "why not", "et si", "y si", "kaj pa", "in kaj", "in kako", "in kakšen",
     "in kakšna", "in kakšno", "in kje", "in kdaj", "in zakaj", "in koliko", "in kdo", "in kateri"]
)  # fmt: skip
_GOES_ON_AT_THE_END = frozenset(["then", "too", "also"])
_POINTS_BACK = frozenset(
    """
    it its itself they them their theirs he him his she her hers those these one ones same such
    er sie ihn ihm ihr ihre ihren deren dessen davon dafür damit daran darin dazu dort dieser dieses
    il elle ils elles leur sa ses cela ça celui celle
    él ella ellos ellas su sus eso esto ese esa allí
    ona ono oni njega njegov njegova njegovo njen njena njihov jih ga mu tega tam
    यो त्यो यसको त्यसको यसले यसमा यसलाई त्यहाँ यिनी तिनी उनी
    """.split()
)
_POLITE = frozenset(
    """
    ok okay great good nice fine perfect cool thanks thank thx you very much hi hello hey bye yes no please sorry
    well hm hmm
    danke bitte hallo gut ja nein merci bonjour salut oui non gracias hola sí hvala zdravo živjo prosim dobro
    धन्यवाद नमस्ते
    """.split()
)
_VERBS = frozenset(
    """
    is are was were am do does did can could will would shall should may might must has have had
    tell explain describe show give define
    ist sind kann est sont es son je so हो छ
    """.split()
)
# What names nothing, besides the stop words of the search.
_EMPTY = _POLITE | _VERBS | _GOES_ON | _GOES_ON_AT_THE_END | _POINTS_BACK | frozenset(
    """
    whats hows wheres whos dont doesnt mean means happen happens long often far
    was wer wie wo wann warum welche welcher welches der die das den dem ein eine ich für mit von im auf bei nicht
    que quoi quand comment pourquoi quel quelle le la les un une des du de c'est au ce dans pour
    qué quién cómo cuándo dónde cuál el los las una del por para con
    kaj kdo kako kdaj kje zakaj kateri katera kakšen kakšna se ali na za ki naj koliko
    के को कसरी किन कहिले कहाँ कुन कति लागि
    """.split()
)  # fmt: skip

# 'Is that secure?' and 'How do I fix this?' point back; 'the key that I need' and 'this chat' do not.
_THAT = regex.compile(
    r"(?i)\b(?:is|are|was|does|do|did|can|will|could|for|with|of|about|to|by|from|between|like|after|before|than"
    r"|fix|change|set|use|mean) (?P<word>that|this)\b(?! (?:the|a|an|i|you|we)\b)"
    r"|^(?P<word>that|this)\b|\b(?P<word>that|this)[?.! ]*$"
    r"|(?<!\b(?:is|are|was|were) )\b(?P<word>there)\b(?! (?:is|are|was|were|a|an|any|no)\b)"
)
# Words that look like pointers and stand for nothing: 'is it possible to', 'at the same time'.
_DUMMY = regex.compile(
    r"(?i)\b(?:is|was) it (?:\w+ )?(?:possible|necessary|safe|allowed|ok|okay|worth|better|best|true|easy|hard"
    r"|important)\b|\bit takes? (?:\w+ ){0,3}to\b|\bit (?:say|mean)s? (?:that|when|if)\b|\bsame time\b|\bsuch as\b"
    r"|\b(?:while|if|when|does|can|should|must|that) one\b"
)
_CLAUSE = regex.compile(r"(?i)[,;]|\b(?:and|but|or|when|if|because|while)\b")
_PIECE = regex.compile(r"(?=\S*?[\p{L}\p{N}])[^\s?!,;:()\"“”„«»¿¡।]+")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


@dataclass(frozen=True)
class Query:
    """
    What is searched for in place of a question.

    Attributes:
        text: the question exactly as asked, with the words carried over behind it.
        carried: these words, as an earlier question spelled them, the latest first; empty if the question stands alone.
        reason: why they are, in words fit for the page; None if the question stands alone.
    """

    text: str
    carried: tuple[str, ...] = ()
    reason: str | None = None

    def weighing(
        self, weight: Callable[[str], float], *, words: Callable[[str], list[str]] = words
    ) -> Callable[[str], float]:
        """A `weight` by which the words carried over count half: for `gather` and `coverage`, with `text`."""
        lent = {word for piece in self.carried for word in words(piece)}
        return lambda word: weight(word) * (_CARRIED_WEIGHT if word in lent else 1.0)


def standalone(question: str, history: Sequence[Turn], *, weight: Callable[[str], float]) -> Query:
    """
    Say what to search for when a question may follow from earlier ones. No model is asked.

    A question follows if it points back ('its', 'there'), goes on ('And …', 'What about …'), or is too short to
    name a subject. It then gets the telling words of the question before, and if that followed too, of the one
    before that. Anything else is searched for as it is. Answers lend no words: they name too much.

    Args:
        question: as asked.
        history: the answered turns of the conversation, oldest first.
        weight: how much a word tells (`Library.weight`).

    >>> turns = [Turn("How do I use Foundry Local?", "Start it before the chat.")]
    >>> standalone("And its port?", turns, weight=lambda word: 1.0)
    Query(text='And its port? use Foundry Local', carried=('use', 'Foundry', 'Local'), reason="'and' goes on")
    >>> standalone("Is there a dark theme?", turns, weight=lambda word: 1.0)
    Query(text='Is there a dark theme?', carried=(), reason=None)
    """
    subject: tuple[str, ...] = ()
    for turn in history[-_TURNS:]:
        own = tuple(piece for piece in _pieces(turn.question[:_LONGEST]) if _worth(piece, weight) > 0)
        goes_on = not own or _reason(turn.question, weight)
        subject = own + _not_in(turn.question, subject) if goes_on else own
    reason = _reason(question, weight)
    carried = _not_in(question, subject)[:_MOST_CARRIED] if reason else ()
    return Query(" ".join([question, *carried]), carried, reason) if carried else Query(question)


def _reason(question: str, weight: Callable[[str], float]) -> str | None:
    """Why a question does not stand alone; None if it does."""
    said = [_folded(match[0]) for match in _PIECE.finditer(question)] if len(question) <= _LONGEST else []
    while said and said[0] in _POLITE:
        del said[0]
    if not said:
        return None
    own = _pieces(question)
    if any("_" in piece for piece in own):
        return None  # a setting, whatever else is said
    first, opening = said[0], " ".join(said[:2])
    if first in _GOES_ON:
        return f"'{first}' goes on"
    if opening in _GOES_ON_IN_TWO:
        return f"'{opening}' goes on"
    if said[-1] in _GOES_ON_AT_THE_END:
        return f"'{said[-1]}' goes on"
    if pointer := _pointer(_DUMMY.sub(" ", question)):
        return f"'{pointer}' points back"
    if not own:
        return "it names no subject"
    if len(own) == 1:
        common = _worth(own[0], weight) < _TELLING * weight("")
        if common or not (_VERBS.intersection(said) or _is_name(own[0])):
            return "it is too short to stand alone"
    return None


def _pointer(question: str) -> str | None:
    """The first word that points to something before the question, not to a word in it."""
    pointers = [match for match in _PIECE.finditer(question) if _folded(match[0]) in _POINTS_BACK]
    spans = [match.span() for match in pointers] + [match.span("word") for match in _THAT.finditer(question)]
    return next((_folded(question[start:end]) for start, end in sorted(spans) if not _named(question[:start])), None)


def _named(before: str) -> bool:
    """Whether what comes before a pointer names what it points to: 'How do I stop the chat and start it?'"""
    ends = [match.start() for match in _CLAUSE.finditer(before)]
    return bool(ends) and len(_pieces(before[: ends[-1]])) > 1


def _pieces(question: str) -> list[str]:
    """The words that name something, each once, spelled as they are: `RAG_K` stays whole."""
    found = (match[0].strip(".'’‘`*_-") for match in _PIECE.finditer(question))
    return list(dict.fromkeys(piece for piece in found if _folded(piece) not in _EMPTY and words(piece)))


def _not_in(question: str, subject: tuple[str, ...]) -> tuple[str, ...]:
    there = set(words(question[:_LONGEST]))
    return tuple(piece for piece in subject if not there.issuperset(words(piece)))


def _worth(piece: str, weight: Callable[[str], float]) -> float:
    return max(weight(word) for word in words(piece))


def _is_name(piece: str) -> bool:
    # Without spaces between its words, a whole sentence is one piece.
    return piece.isupper() or any(map(str.isdigit, piece)) or bool(_UNSPACED.search(piece))


def _folded(piece: str) -> str:
    return piece.strip(".'’‘`*_-").casefold()
