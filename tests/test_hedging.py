"""Telling who says that the documents do not say."""

from __future__ import annotations

import pytest

from rag.hedging import hedges


@pytest.mark.parametrize(
    "text",
    [
        "The context does not mention a port.",
        "The provided context doesn't specify who it was.",
        "There is no information about that in the documents.",
        "I don't know.",
        "I'm sorry, but I am unable to answer from this.",
        "The port is not mentioned in the given context.",
        "It cannot be determined from the text.",
        "Insufficient context.",
        "The context is insufficient to say so. There is not enough information.",
        "The answer isn't given in the context.",
        "No information about the port is provided.",
        "Der Kontext nennt keinen Port.",
        "Im Text wird er nicht genannt.",
        "Les documents ne le disent pas.",
        "El contexto no menciona el puerto.",
        "Dokumenti tega ne povedo.",
        "कागजातमा यसबारे केही उल्लेख छैन।",
    ],
)
def test_a_text_that_says_that_the_documents_do_not_say_hedges(text: str) -> None:
    """In the ways that small models have of saying so."""
    assert hedges(text)


@pytest.mark.parametrize(
    "text",
    [
        "The port is 8000.",
        "The port is not open to others.",
        "The treaty did not end the war.",
        "No, the chat does not need the internet.",
        "Insufficiently watered tomatoes do not grow.",
        "He did not know Latin.",
        "Nothing is sent: no data leaves this machine.",
        "If the chat cannot find the model, it says so.",
        "Die Dokumente verlassen den Rechner nicht.",
        "कागजात यो कम्प्युटर बाहिर जाँदैन।",
        "The document was signed in 1066.",
        "",
    ],
)
def test_a_negation_alone_is_no_hedge(text: str) -> None:
    """Answers may say no."""
    assert not hedges(text)
