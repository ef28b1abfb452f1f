"""Whether a text says that the documents do not say."""

from __future__ import annotations

import re

_SOURCE = r"(?:context|documents?|passages?|texts?|sources?|evidence|articles?|excerpts?|information)"
_SAY = (
    r"(?:say|mention|state|specif(?:y|ied)|contain|provide|include|tell|give|given|explain|answer|indicate|describe|"
    r"address|discuss|sufficient|enough|information|details?|available|clear)"
)
_NEAR = r"[^.!?।\n]{0,40}?"


def _in_any_order(source: str, verb: str, negation: str) -> str:
    # 'Der Kontext nennt keinen' and 'Im Text wird er nicht genannt'.
    return rf"\b(?:{source})\b{_NEAR}(?:(?:{verb})\w*{_NEAR}\b(?:{negation})\b|\b(?:{negation})\b{_NEAR}(?:{verb}))"


_HEDGE = re.compile(
    "|".join(
        [
            rf"\b{_SOURCE}\b[^.!?\n]{{0,60}}?\b(?:do|does|did|is|are|was|were|has|have)(?:\s+not|n['’]t|\s+no)\b"
            rf"[^.!?\n]{{0,30}}?\b{_SAY}",
            rf"(?:\bnot|n['’]t|\bnowhere|\bnever)\s+(?:\w+\s+){{0,3}}?{_SAY}\w*\s+(?:\w+\s+){{0,3}}?(?:in|by|from)\s+"
            rf"(?:the|this|these|any)\s+(?:\w+\s+){{0,2}}?{_SOURCE}\b",
            r"\bthere(?:\s+is|['’]s)\s+no\s+(?:\w+\s+){0,2}?(?:information|mention|details?|evidence|context)\b",
            r"\bno\s+(?:\w+\s+){0,2}?(?:information|mention|details?)\s+(?:\w+\s+)?(?:about|on|regarding|of|provided|"
            r"given|available|in\s+the)\b",
            r"\b(?:insufficient|not\s+enough)\s+(?:\w+\s+){0,2}?(?:context|information|evidence|details)\b",
            rf"\A\W*(?:the\s+(?:\w+\s+)?{_SOURCE}\s+is\s+)?insufficient\b",
            r"\bI\s+(?:do\s+not|don['’]t|did\s+not|didn['’]t)\s+(?:know|have\s+(?:enough|any|the|access))\b",
            r"\bI(?:\s+am|['’]m)\s+(?:unable|not\s+(?:able|sure))\b",
            r"\bI\s+(?:cannot|can\s*not|can['’]t|could\s+not|couldn['’]t)\s+(?:answer|determine|find|tell|say|provide)\b",
            r"\b(?:cannot|can\s*not|can['’]t|could\s+not)\s+be\s+(?:determined|answered|inferred)\b",
            _in_any_order(
                "kontext|dokumente?n?|texte?s?|quellen?",
                "nenn|genannt|erwähn|sag|gesagt|enth[aä]lt|gibt|geben|angegeben|beschreib|beantwort|steht|hervor",
                r"nicht|kein\w*|nichts",
            ),
            _in_any_order(
                "contexte|documents?|textes?", "di[st]|mentionn|précis|contien|indiqu|fourni|donn", "pas|aucune?|rien"
            ),
            _in_any_order("contexto|documentos?|textos?", "dice|menciona|contiene|indica|especifica|proporciona", "no"),
            _in_any_order("contesto|documenti?|testo", "dic|menzion|conten|contien|indic|forni|specific", "non"),
            _in_any_order("kontekst\\w*|dokument\\w*|besedil\\w*", "pove|omenja|navaja|vsebuje|piše", "ne|ni|nič"),
            r"(?:कागजात|सन्दर्भ|जानकारी)[^।!?\n]{0,60}?(?:उल्लेख|जानकारी|बता|दिइ|भनि)[^।!?\n]{0,30}?(?:छैन|छैनन्|दैन|दैनन्)",
        ]
    ),
    re.IGNORECASE,
)


def hedges(text: str) -> bool:
    """
    Whether a text says that the documents do not say.

    Known phrases of English, and a few of the other languages that the chat is used in; another wording is missed.

    >>> hedges("The context does not mention a port."), hedges("The port is not open.")
    (True, False)
    """
    return bool(_HEDGE.search(text))
