"""Evidence, citations and quotations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.bm25 import Bm25Index, Hit
from rag.chunking import Chunk, split
from rag.documents import Document
from rag.evidence import (
    Evidence,
    cite,
    coverage,
    gather,
    is_enough,
    is_near,
    quotable,
    quote,
    sentences_of,
    support,
    without_marks,
)
from tests.conftest import PORTS


def evidence_for(question: str, text: str = PORTS, *, tokens: int = 200) -> tuple[Evidence, ...]:
    """What would go to the model from one document."""
    index = Bm25Index(split(Document("ports.md", text)))
    return gather(question, index.search(question), tokens=tokens, weight=index.idf)


def test_a_sentence_of_evidence_is_exactly_its_span_of_the_document() -> None:
    """The page highlights by it."""
    for one in evidence_for("Which port does the firewall of the chat need?"):
        assert PORTS[one.start : one.end] == one.quote


def test_the_sentence_that_answers_comes_first() -> None:
    """More and rarer words of the question in it count more."""
    assert evidence_for("How long must I hold the reset button?")[0].text.startswith("Hold the reset button")


@pytest.mark.parametrize(
    ("share", "near", "enough"),
    [
        pytest.param(0.5, (), True, id="just covered"),
        pytest.param(0.49, (), False, id="not covered"),
        pytest.param(0.0, (0.9,), True, id="near in meaning"),
        pytest.param(0.0, (0.1,), False, id="neither"),
    ],
)
def test_evidence_is_enough_by_its_words_or_by_its_meaning(share: float, near: tuple[float, ...], enough: bool) -> None:
    """One rule, for the chat and for `compare`; no evidence is never enough."""
    hits = [Hit(Chunk("It is open.", "a.md"), 1.0, near=near)]
    assert is_enough(sentences_of(hits[0].chunk), share, hits, min_coverage=0.5) is enough
    assert not is_enough([], share, hits, min_coverage=0.5)


def test_a_sentence_that_means_the_question_comes_before_one_that_has_its_words() -> None:
    """Where the search knows; a chunk of which it does not know is neither first nor last for that."""
    chunk = Chunk("The port opens. The door of the port is open.", "a.md")
    first, second = (one.text for one in sentences_of(chunk))
    bare = gather("port door", [Hit(chunk, 1.0, closeness=1.0)], tokens=200, weight=lambda _: 1.0)
    meant = gather("port door", [Hit(chunk, 1.0, closeness=1.0, near=(0.9, 0.1))], tokens=200, weight=lambda _: 1.0)
    assert [one.text for one in bare] == [second, first]
    assert [one.text for one in meant] == [first, second]
    hits = [
        Hit(chunk, 1.0, closeness=1.0, near=(0.9, 0.1)),
        Hit(Chunk("This port has a door.", "b.md"), 1.0, closeness=1.0),
    ]
    found = gather("port door", hits, tokens=200, weight=lambda _: 1.0)
    assert [one.relevance for one in found if one.chunk.document == "b.md"] == [pytest.approx(1 + 1 + 0.5)]


@pytest.mark.parametrize(
    ("near", "expected"), [((), False), ((0.1, 0.2), False), ((0.1, 0.4), True)], ids=["unknown", "far", "near"]
)
def test_few_common_words_do_not_matter_where_a_sentence_is_near_in_meaning(
    near: tuple[float, ...], expected: bool
) -> None:
    """'How do I get rid of it?' shares no word with 'To uninstall, delete the folder.'"""
    assert is_near([Hit(Chunk("Uninstall it so.", "a.md"), 1.0, near=near)]) is expected


def test_the_budget_is_kept_but_the_best_sentence_is_always_there() -> None:
    """A budget below one sentence would leave the model nothing at all."""
    assert len(evidence_for("port firewall reset", tokens=1)) == 1
    assert len(evidence_for("port firewall reset", tokens=200)) == 3


def test_the_same_sentence_in_two_documents_is_given_once() -> None:
    """A copy costs tokens and tells nothing."""
    index = Bm25Index(split(Document("a.md", GAIN)) + split(Document("b.md", GAIN)))
    assert len(gather("gain", index.search("gain"), tokens=200, weight=index.idf)) == 1


GAIN = "The gain is seven."


def test_markdown_marks_stay_out_of_the_prompt_but_in_the_quote() -> None:
    """The model reads words; the highlight needs the characters that are there."""
    (one,) = evidence_for("port", "- The **port** is `8000`.")
    assert (one.text, one.quote) == ("The port is 8000.", "- The **port** is `8000`.")


@pytest.mark.parametrize(
    ("sentence", "supported"),
    [
        pytest.param("The chat listens on port 8000.", True, id="verbatim"),
        pytest.param("It listens on port 8000.", True, id="shortened"),
        pytest.param("The chat listens on port 9000.", False, id="another number"),
        pytest.param("The chat was written in Lyon by monks.", False, id="made up"),
        pytest.param("It is so.", False, id="nothing to check"),
    ],
)
def test_support_needs_most_words_and_every_number(sentence: str, supported: bool) -> None:
    """A wrong number is a wrong answer, however well the words agree."""
    (best, *_) = evidence_for("Which port does the chat listen on?")
    assert (support(sentence, best) >= 0.6) is supported


def test_each_sentence_is_cited_or_marked_and_numbers_follow_the_answer() -> None:
    """[1] is what the answer needs first, whatever the order of the evidence, and one place has one number."""
    evidence = evidence_for("port firewall reset button chat listens")
    cited = cite(
        "Hold the reset button for ten seconds. The chat listens on port 8000. It was built in Lyon. "
        "Hold the reset button.",
        evidence,
    )
    assert cited.text == (
        "Hold the reset button for ten seconds. [1] The chat listens on port 8000. [2] "
        "It was built in Lyon. [no source] Hold the reset button. [1]"
    )
    assert [citation.number for citation in cited.citations] == [1, 2]
    assert cited.unsupported == 1


@pytest.mark.parametrize("mark", ["[3]", "[1, 2]", "[ 7 ]", " [12]"])
def test_numbers_that_the_model_wrote_are_not_citations(mark: str) -> None:
    """Citations are ours; the model's own marks point nowhere."""
    cited = cite(f"The chat listens on port 8000{mark}.", evidence_for("port of the chat"))
    assert cited.text == "The chat listens on port 8000. [1]"


@pytest.mark.parametrize(
    "text",
    ["See [the page](x.md) and [ ] and a[i].", "Use `items[1]`.", "Run:\n\n```\nx[1] = y[1, 2]\n```", "[1](x.md)"],
)
def test_brackets_that_are_no_marks_stay(text: str) -> None:
    """Code keeps its brackets, and so does a link."""
    assert without_marks(text) == text


def test_our_own_marks_are_taken_out_again() -> None:
    """A model that has seen them in the conversation may repeat them."""
    assert cite("The chat listens on port 8000. [no source]", evidence_for("port of the chat")).text == (
        "The chat listens on port 8000. [1]"
    )


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("The chat does not listen on port 8000.", "The chat listens on port 8000."),
        ("The chat listens on port 8000.", "The chat does not listen on port 8000."),
        ("Hold the button for two seconds.", "Hold the button for ten seconds."),
        ("Turn the router off.", "Turn the router on."),
        ("Save the file before the restart.", "Save the file after the restart."),
        ("The file has 5 GB.", "The file has 5 MB."),
        ("It freezes at -5 degrees.", "It freezes at 5 degrees."),
        ("The large model calls the small model.", "The small model waits; nobody calls the large one."),
        ("LLM calls SLM.", "SLM calls LLM."),
        ("You can't open it.", "You can open it."),
        ("It has fewer words.", "It has more words."),
    ],
)
def test_words_that_agree_are_no_support_where_the_meaning_does_not(answer: str, source: str) -> None:
    """A wrong citation does more harm than a missing one."""
    (one,) = sentences_of(Chunk(source, "x.md", end=len(source)))
    assert cite(answer, [one]).citations == ()
    assert cite(source, [one]).unsupported == 0


def test_a_table_in_an_answer_stays_a_table() -> None:
    """The header has no mark, and a row has it inside its last cell."""
    chunk = Chunk("| RAG_K | chunks searched |", "x.md", end=25)
    answer = "| Setting | Meaning |\n|---|---|\n| RAG_K | chunks searched |\n| RAG_X | monks in Lyon |"
    assert cite(answer, sentences_of(chunk)).text == (
        "| Setting | Meaning |\n|---|---|\n| RAG_K | chunks searched [1] |\n| RAG_X | monks in Lyon [no source] |"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The size is 2**10 bytes.", "a.md"),
        ("See rag.__main__ and docs/**/*.md.", "a.md"),
        ("It is **bold**.", "a.txt"),
    ],
)
def test_the_documents_own_words_are_not_altered(text: str, name: str) -> None:
    """Marks of Markdown are taken out of Markdown, and nothing else of anything."""
    (one,) = sentences_of(Chunk(text, name, end=len(text), markdown=name.endswith(".md")))
    assert one.text == text


def test_a_quotation_shows_the_characters_that_are_there() -> None:
    """Markdown in the page must not read marks into them."""
    (one,) = sentences_of(Chunk("See rag.__main__ and 2**10 <b>", "a.txt", end=30))
    assert quote([one]).text == r"> See rag.\__main_\_ and 2\*\*10 \<b> [1]"


def test_a_text_without_full_stops_does_not_fill_the_prompt() -> None:
    """A phone list is many pieces of evidence, each within reach of the budget."""
    text = "\n".join(f"person{n} 555-{n:04}" for n in range(5000))
    index = Bm25Index(split(Document("list.txt", text)))
    chosen = gather("person4711", index.search("person4711"), tokens=120, weight=index.idf)
    assert "555-4711" in chosen[0].text
    assert sum(len(one.text) for one in chosen) < 1500


def test_code_in_an_answer_is_not_a_claim() -> None:
    """A code block gets no mark in its middle."""
    answer = "The chat listens on port 8000.\n\n```\nchainlit run app.py\n```"
    assert cite(answer, evidence_for("port of the chat")).text == (
        "The chat listens on port 8000. [1]\n\n```\nchainlit run app.py\n```"
    )


def test_a_quotation_is_the_documents_own_words_with_their_numbers() -> None:
    """Nothing is added, and everything in it has a source."""
    quoted = quote(evidence_for("How long must I hold the reset button?"))
    assert quoted.text.startswith("> Hold the reset button for ten seconds to restore the factory settings. [1]")
    assert quoted.unsupported == 0


def test_a_quotation_has_what_bears_on_the_question_nearly_as_well_as_the_best() -> None:
    """And not what the prompt has no room for but a reader has; four sentences at most, each text once."""
    told = "The red door opens on {}."
    one = sentences_of(Chunk("".join(f"{told.format(day)} " for day in ("Monday", "Monday", *"abcdef")), "doors.md"))
    even = [replace(sentence, relevance=1.0) for sentence in one]
    assert [found.text for found in quotable(even)] == [told.format(day) for day in ("Monday", "a", "b", "c")]
    falling = [replace(sentence, relevance=worth) for sentence, worth in zip(one[1:], (1.0, 0.7, 0.69), strict=False)]
    assert [found.text for found in quotable(falling)] == [told.format(day) for day in ("Monday", "a")]
    long = replace(even[0], text="word " * 400)
    assert quotable([long, *even]) == (long,)
    assert quotable([]) == ()


def test_coverage_asks_one_sentence_not_the_sum_of_strangers() -> None:
    """Two sentences with one word of the question each are no evidence for both."""
    text = "Apples are red.\n\nBananas are cheap.\n\nOther things exist.\n\nMore things exist."
    index = Bm25Index(split(Document("x.md", text), max_words=3))
    both = gather("red bananas", index.search("red bananas"), tokens=200, weight=index.idf)
    assert coverage("red bananas", both, weight=index.idf) == pytest.approx(0.5, abs=0.1)
    assert coverage("red apples", both, weight=index.idf) == 1.0
    assert coverage("the of", both, weight=index.idf) == 0.0


def test_a_heading_speaks_for_the_sentences_below_it() -> None:
    """'It is 8000.' under 'Port' answers a question about the port."""
    (one,) = evidence_for("Which port?", "# Port\n\nAlways 8000.")
    assert one.text == "Always 8000."


def test_every_sentence_of_a_chunk_is_found_once() -> None:
    """Items and rows are sentences of their own."""
    (chunk,) = split(Document("x.md", "One is here. Two is there.\n\n- item three\n- item four\n\n| five | six |"))
    assert [one.text for one in sentences_of(chunk)] == [
        "One is here.", "Two is there.", "item three", "item four", "five, six",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "source", "language"),
    [
        pytest.param("Die Garantie gilt nicht für Akkus.", "Die Garantie gilt für Akkus.", "de", id="German not"),
        pytest.param("Man startet es vor dem Test.", "Man startet es nach dem Test.", "de", id="German before"),
        pytest.param("Es dauert zehn Minuten im Test.", "Es dauert zwanzig Minuten im Test.", "de", id="German ten"),
        pytest.param("La garantie ne couvre pas les piles.", "La garantie couvre les piles.", "fr", id="French not"),
        pytest.param("Garancija ne krije baterij.", "Garancija krije baterije.", "sl", id="Slovenian not"),
        pytest.param("ग्यारेन्टीमा ब्याट्री समावेश छैन।", "ग्यारेन्टीमा ब्याट्री समावेश छ।", "ne", id="Nepali not"),
        pytest.param("Jamstvo ne vrijedi za baterije.", "Jamstvo vrijedi za baterije.", "xx", id="no list"),
        pytest.param("It weighs 7,5 kg in all.", "It weighs 75 kg in all.", "en", id="a decimal comma"),
    ],
)
def test_a_contradiction_is_no_source_in_any_language(said: str, source: str, language: str) -> None:
    """The words agree and the meaning does not."""
    (evidence,) = sentences_of(Chunk(source, "a.txt", end=len(source), markdown=False, language=language))
    assert support(source, evidence) == 1
    assert support(said, evidence) == 0


def test_a_negated_sentence_is_cited_from_a_negated_one() -> None:
    """Negations agree however they are said."""
    source = "La garantie ne couvre jamais les piles."
    (evidence,) = sentences_of(Chunk(source, "a.txt", end=len(source), markdown=False, language="fr"))
    assert support("La garantie ne couvre pas les piles.", evidence) == 1
