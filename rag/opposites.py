"""Words that turn a sentence around: negations and pairs of opposites, by language."""

from __future__ import annotations

import re
from functools import cache

_NEGATIONS = {
    "en": "not no never none nothing nobody neither nor cannot without",
    "cs": "ne není nejsou nikdy žádný žádná žádné nic nikdo bez",
    "da": "ikke aldrig ingen intet uden",
    "de": "nicht kein keine keinen keinem keiner keines nie niemals nichts niemand ohne weder noch",
    "es": "no nunca jamás sin ningún ninguna ninguno nada nadie ni tampoco",
    "fr": "ne n pas jamais sans aucun aucune rien ni",
    "hi": "नहीं न मत बिना",
    "hr": "ne nije nisu nikad bez ništa nitko",
    "it": "non mai senza nessun nessuno nessuna niente nulla né",
    "ne": "छैन छैनन् होइन होइनन् हुँदैन हुँदैनन् गर्दैन गर्दैनन् सक्दैन बिना नगर्नुहोस् कहिल्यै",
    "nl": "niet geen nooit zonder niets niemand noch",
    "no": "ikke aldri ingen intet uten",
    "pl": "nie nigdy żaden żadna żadne nic nikt bez",
    "pt": "não nunca jamais sem nenhum nenhuma nada ninguém nem",
    "ru": "не нет никогда ничего никто без ни нельзя",
    "sl": "ne ni niso nisem nikoli noben nobena nobeno nič nihče brez nima nimajo nočejo",
    "sv": "inte ej icke aldrig ingen inget inga utan",
}
_OPPOSITES = {
    "en": "on/off before/after above/below over/under up/down more/less more/fewer most/least always/never all/none "
    "start/stop open/close enable/disable enabled/disabled higher/lower larger/smaller first/last left/right yes/no "
    "true/false with/without can/cannot increase/decrease increases/decreases allowed/refused minimum/maximum "
    "longer/shorter faster/slower inside/outside",
    "de": "vor/nach vorher/nachher über/unter mehr/weniger immer/nie alle/keine mit/ohne erste/letzte ersten/letzten "
    "links/rechts wahr/falsch ein/aus an/aus auf/zu größer/kleiner länger/kürzer schneller/langsamer "
    "höher/niedriger innen/außen innerhalb/außerhalb mindestens/höchstens erlaubt/verboten",
    "es": "antes/después sobre/bajo más/menos siempre/nunca todos/ninguno con/sin primero/último izquierda/derecha "
    "verdadero/falso mayor/menor dentro/fuera mínimo/máximo encendido/apagado permitido/prohibido",
    "fr": "avant/après sur/sous plus/moins toujours/jamais tous/aucun avec/sans premier/dernier gauche/droite oui/non "
    "vrai/faux supérieur/inférieur dedans/dehors minimum/maximum allumé/éteint permis/interdit",
    "it": "prima/dopo sopra/sotto più/meno sempre/mai tutti/nessuno con/senza primo/ultimo sinistra/destra sì/no "
    "vero/falso maggiore/minore dentro/fuori minimo/massimo acceso/spento",
    "nl": "voor/na boven/onder meer/minder altijd/nooit alle/geen met/zonder eerste/laatste links/rechts ja/nee "
    "aan/uit groter/kleiner binnen/buiten minimum/maximum",
    "pt": "antes/depois sobre/sob mais/menos sempre/nunca todos/nenhum com/sem primeiro/último esquerda/direita "
    "maior/menor dentro/fora mínimo/máximo",
    "ru": "до/после над/под больше/меньше всегда/никогда с/без первый/последний да/нет внутри/снаружи",
    "sl": "pred/po nad/pod več/manj vedno/nikoli vsi/noben z/brez s/brez prvi/zadnji levo/desno da/ne večji/manjši "
    "znotraj/zunaj najmanj/največ vklopi/izklopi dovoljeno/prepovedano",
    "ne": "अघि/पछि माथि/तल बढी/कम सधैं/कहिल्यै पहिलो/अन्तिम",
}  # fmt: skip
_WORD = re.compile(r"[\w'\u0300-\u036f\u0900-\u0963\u0966-\u0dff]+")
_NEGATED_ENDS = ("n't", "छैन", "छैनन्", "दैन", "दैनन्", "होइन")


def contradicts(sentence: str, source: str, language: str = "en") -> bool:
    """
    Whether two sentences differ in a negation or in one of a pair of opposites.

    English words are looked for in every language, as answers may be in English. A language without a list of its
    own is searched for the negations of all.

    >>> contradicts("Do this before the restart.", "Do this after the restart.")
    True
    >>> contradicts("Das gilt nicht für Akkus.", "Das gilt für Akkus.", "de")
    True
    """
    left, right = _words_of(sentence), _words_of(source)
    if _is_negated(left, language) != _is_negated(right, language):
        return True
    pairs = [pair.split("/") for spoken in {"en", language} for pair in _OPPOSITES.get(spoken, "").casefold().split()]
    return any(
        (one in left and other in right and one not in right) or (other in left and one in right and other not in right)
        for one, other in pairs
    )


def is_negated(sentence: str, language: str = "en") -> bool:
    """
    Whether a sentence has a negation.

    >>> is_negated("Which port isn't used?"), is_negated("Which port is used?")
    (True, False)
    """
    return _is_negated(_words_of(sentence), language)


def _words_of(sentence: str) -> set[str]:
    words = set(_WORD.findall(sentence.casefold().replace("’", "'")))
    return words | {part for word in words for part in word.split("'")}


def _is_negated(words: set[str], language: str) -> bool:
    return any(word in _negations(language) or word.endswith(_NEGATED_ENDS) for word in words)


@cache
def _negations(language: str) -> frozenset[str]:
    own = _NEGATIONS.get(language)
    return frozenset((own if own is not None else " ".join(_NEGATIONS.values())).casefold().split()) | frozenset(
        _NEGATIONS["en"].split()
    )
