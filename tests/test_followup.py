"""Which questions follow from earlier ones, and what they are searched with."""

from __future__ import annotations

from time import perf_counter

import pytest

from rag.evidence import coverage, gather
from rag.followup import Query, standalone
from rag.library import Library
from rag.prompts import Turn
from rag.text import words

COMMON = {"default": 1.5, "chat": 0.4, "answer": 0.0, "citat": 2.2, "": 4.0}


def weight(word: str) -> float:
    """A word that is not listed is as rare as a word can be."""
    return COMMON.get(word, 4.0)


def query(question: str, *before: str) -> Query:
    """What a question is searched with after earlier ones, all of them answered."""
    return standalone(question, [Turn(one, "**The documents say:**\n\n> Lyon.") for one in before], weight=weight)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        pytest.param("And its port?", "'and' goes on", id="and"),
        pytest.param("thanks! and the port", "'and' goes on", id="manners first"),
        pytest.param("What about the port?", "'what about' goes on", id="what about"),
        pytest.param("Which port does that use then?", "'then' goes on", id="then"),
        pytest.param("How do I change it?", "'it' points back", id="it"),
        pytest.param("how do i change it", "'it' points back", id="as typed in a hurry"),
        pytest.param("Is that secure?", "'that' points back", id="that"),
        pytest.param("How do I fix this?", "'this' points back", id="this"),
        pytest.param("Who was killed there?", "'there' points back", id="there"),
        pytest.param("Which one comes last?", "'one' points back", id="one"),
        pytest.param("Why?", "it names no subject", id="no word of its own"),
        pytest.param("For how long?", "it names no subject", id="how long"),
        pytest.param("What is the default?", "it is too short to stand alone", id="a common word"),
        pytest.param("On Windows?", "it is too short to stand alone", id="no verb"),
        pytest.param("Und der Port?", "'und' goes on", id="German"),
        pytest.param("Wie ändere ich ihn?", "'ihn' points back", id="German pronoun"),
        pytest.param("Et phi-4-mini ?", "'et' goes on", id="French"),
        pytest.param("¿Y su puerto?", "'y' goes on", id="Spanish"),
        pytest.param("In kako ga nastavim?", "'in kako' goes on", id="Slovenian"),
        pytest.param("यसको पोर्ट के हो?", "'यसको' points back", id="Nepali"),
    ],
)
def test_a_question_that_follows_gets_the_subject_and_says_why(question: str, reason: str) -> None:
    """The words stand behind the question, which stays as it was typed."""
    found = query(question, "What is Foundry Local?")
    assert found == Query(f"{question} Foundry Local", ("Foundry", "Local"), reason)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param("What is TTFT?", id="short and complete"),
        pytest.param("RAG_THREADS?", id="a setting alone"),
        pytest.param("And RAG_THREADS, what is its default?", id="a setting, whatever else is said"),
        pytest.param("BM25?", id="a name alone"),
        pytest.param("Tell me about citations", id="a subject that is not quite rare"),
        pytest.param("Is there a dark theme?", id="there is"),
        pytest.param("Is it possible to change the temperature?", id="it stands for nothing"),
        pytest.param("How long does it take to restart the server?", id="it takes"),
        pytest.param("Can two people ask at the same time?", id="the same time"),
        pytest.param("Which files that begin with a dot are skipped?", id="that begins a clause"),
        pytest.param("How do I stop the server and start it again?", id="it is in the question"),
        pytest.param("In which country is Normandy located?", id="in is not Slovenian here"),
        pytest.param("¿Qué es BM25?", id="es is not German here"),
        pytest.param("Who invented the telephone?", id="nothing in the documents"),
        pytest.param("Thanks!", id="manners"),
        pytest.param("ok thank you very much", id="more manners"),
        pytest.param("🙂", id="emoji"),
        pytest.param("既定のポートは何ですか", id="a sentence without spaces"),
        pytest.param("", id="empty"),
    ],
)
def test_a_question_that_stands_alone_is_left_exactly_as_it_is(question: str) -> None:
    """A change of subject does not drag the old one along."""
    assert query(question, "What is Foundry Local?") == Query(question)


@pytest.mark.parametrize("question", ["And its port?", "Why?", "How do I change it?"])
def test_the_first_question_has_nothing_to_follow(question: str) -> None:
    """Without history, or after manners alone, there is no subject."""
    assert query(question) == Query(question)
    assert query(question, "Hello!") == Query(question)


def test_a_chain_of_follow_ups_keeps_its_subject() -> None:
    """What a follow-up carried is passed on, behind its own words."""
    found = query("And on Windows?", "What is Foundry Local?", "And its port?", "How do I change it?")
    assert found.carried == ("change", "port", "Foundry", "Local")


def test_a_change_of_subject_ends_the_chain() -> None:
    """The next follow-up is about the new subject alone."""
    assert query("How can I lower it?", "What is Foundry Local?", "And its port?", "What is TTFT?").carried == ("TTFT",)


def test_manners_between_do_not_change_the_subject() -> None:
    """'Thanks!' is no subject, and neither are words that tell nothing here."""
    assert query("And its port?", "What is Foundry Local?", "Thanks!", "Answer?").carried == ("Foundry", "Local")


def test_words_that_the_question_has_are_not_carried() -> None:
    """Forms of one word are one word."""
    assert query("And which ports are open?", "Which port does Foundry use?").carried == ("Foundry", "use")


def test_at_most_four_words_are_carried_the_latest_first() -> None:
    """More would drown the words of the question itself."""
    found = query("And why?", "Who was Paul Baran?", "And his distributed adaptive message block switching?")
    assert found.carried == ("distributed", "adaptive", "message", "block")


def test_no_word_of_an_answer_is_carried() -> None:
    """Neither what was quoted nor how an answer says that it is a quotation."""
    turns = [Turn("What is TTFT?", "**The documents say:**\n\n> The time to the first token.")]
    assert standalone("And why?", turns, weight=weight).text == "And why? TTFT"


def test_a_pasted_text_stands_alone_and_takes_no_time() -> None:
    """Its length names a subject, whatever words it begins with."""
    pasted = "and it says this error there " * 270
    began = perf_counter()
    assert query(pasted, *[pasted] * 50) == Query(pasted)
    assert perf_counter() - began < 0.1


def test_carried_words_count_half_for_the_evidence() -> None:
    """Of two sentences, the one with the question's own word is the better evidence."""
    found = query("And its port?", "What is Foundry?")
    weighing = found.weighing(weight)
    assert [weighing(word) for word in words("port foundry")] == [4.0, 2.0]
    assert Query("port").weighing(weight)("foundri") == 4.0


@pytest.mark.anyio
async def test_a_follow_up_finds_what_it_asks_for(docs_with_ports: Library) -> None:
    """Searched, gathered and covered as the assistant does it."""
    library = docs_with_ports
    found = standalone("And its port?", [Turn("What is Foundry?", "A service.")], weight=library.weight)
    weighing = found.weighing(library.weight)
    evidence = gather(found.text, library.search(found.text), tokens=120, weight=weighing)
    assert evidence[0].text == "Foundry listens on port 5273."
    assert coverage(found.text, evidence, weight=weighing) == pytest.approx(1.0)


@pytest.fixture
async def docs_with_ports(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Three documents with a port each."""
    ports = {"Ollama": 11434, "Foundry": 5273, "The chat": 8000}
    texts = [f"{name} listens on port {port}." for name, port in ports.items()] + ["Tomatoes need sun."] * 3
    library = Library(tmp_path_factory.mktemp("none"), inline=texts)
    await library.refresh()
    return library
