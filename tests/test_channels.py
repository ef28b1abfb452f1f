"""What is answer and what is reasoning, however a server writes it and wherever it cuts it."""

from __future__ import annotations

import random
import re
import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.backends.base import Reasoning, Text
from rag.backends.channels import Channels, Sorter, Stretch

START, CHANNEL, MESSAGE, END, RETURN = "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"
ANALYSIS = f"{CHANNEL}analysis{MESSAGE}"
FINAL = f"{START}assistant{CHANNEL}final{MESSAGE}"
CALL = "functions.find_port"
THOUGHT, SAID = "The user asks for a port. It is 8000.", "The chat listens on port 8000."

# (what the server sends, the answer, the reasoning), whatever the model is called.
SHAPES = {
    "analysis, then final": (f"{START}assistant{ANALYSIS}{THOUGHT}{END}{FINAL}{SAID}{RETURN}", SAID, THOUGHT),
    "no start at first": (f"{ANALYSIS}{THOUGHT}{END}{FINAL}{SAID}{RETURN}", SAID, THOUGHT),
    "the role without its start": (
        f"assistant{ANALYSIS}{THOUGHT}{END}assistant{CHANNEL}final{MESSAGE}{SAID}", SAID, THOUGHT
    ),
    "final alone": (f"{CHANNEL}final{MESSAGE}{SAID}", SAID, ""),
    "no channel": (f"{START}assistant{MESSAGE}{SAID}{RETURN}", SAID, ""),
    "no end marks": (f"{ANALYSIS}{THOUGHT}{FINAL}{SAID}", SAID, THOUGHT),
    "an empty line between messages": (f"{ANALYSIS}{THOUGHT}{END}\n{FINAL}{SAID}{RETURN}\n", f"{SAID}", THOUGHT),
    "several analyses": (
        f"{ANALYSIS}One.{END}{START}assistant{ANALYSIS}Two.{END}{FINAL}{SAID}{RETURN}", SAID, "One.Two."
    ),
    "a call with its recipient in the channel": (
        f"{ANALYSIS}{THOUGHT}{END}{START}assistant{CHANNEL}commentary to={CALL} <|constrain|>json{MESSAGE}"
        '{"chat": 1}<|call|>', "", THOUGHT + '{"chat": 1}',
    ),
    "a call with its recipient in the role": (
        f'{START}assistant to={CALL}{CHANNEL}commentary json{MESSAGE}{{"chat": 1}}<|call|>', "", '{"chat": 1}'
    ),
    "a recipient and nothing before it": (f" to={CALL}{CHANNEL}commentary{MESSAGE}{{}}<|call|>", "", "{}"),
    "a preamble": (f"{CHANNEL}commentary{MESSAGE}I shall look.{END}{FINAL}{SAID}{RETURN}", SAID, "I shall look."),
    "what a tool said": (
        f"{START}{CALL} to=assistant{CHANNEL}commentary{MESSAGE}8000{END}{FINAL}{SAID}", SAID, "8000"
    ),
    "a channel with a slip": (f"{CHANNEL}––commentary to={CALL}{MESSAGE}{{}}<|call|>{FINAL}{SAID}", SAID, "{}"),
    "a channel that there is not": (
        f"{ANALYSIS}One.{END}{START}assistant{CHANNEL}plan{MESSAGE}Two.{END}{SAID}", SAID, "One.Two."
    ),
    "such a channel first": (f"{START}assistant{CHANNEL}plan{MESSAGE}Two.{END}{FINAL}{SAID}", SAID, "Two."),
    "a format in the header": (f"{CHANNEL}final <|constrain|>json{MESSAGE}{{}}{RETURN}", "{}", ""),
    "to the user": (f"{START}assistant to=user{CHANNEL}final{MESSAGE}{SAID}{RETURN}", SAID, ""),
    "a header that has no end": (f"{ANALYSIS}{THOUGHT}{END}{START}assistant{CHANNEL}final {SAID}", f" {SAID}", THOUGHT),
    "the answer without a header, as llama.cpp sends it": (f"{ANALYSIS}{THOUGHT}{END}{SAID}", SAID, THOUGHT),
    "only analysis": (f"{ANALYSIS}{THOUGHT}", "", THOUGHT),
    "cut off in a header": (f"{ANALYSIS}{THOUGHT}{END}{START}assistant{CHANNEL}fi", "", THOUGHT),
    "cut off in the first header": (f"{START}assistant{CHANNEL}anal", "", ""),
    "cut off in a mark": (f"{ANALYSIS}{THOUGHT}{END}{FINAL}{SAID}<|retu", SAID, THOUGHT),
    "a role for which nobody asked": (f"{FINAL}{SAID}{END}{START}user{MESSAGE}And then?", SAID, "And then?"),
    "an end mark behind an ordinary answer": (f"{SAID}{RETURN}", SAID, ""),
    "two of them": (f"{SAID}{END}\n{RETURN}", SAID, ""),
    "reasoning behind an ordinary answer": (f"{SAID}{END}{START}assistant{ANALYSIS}{THOUGHT}{END}", SAID, THOUGHT),
    "a header in an ordinary answer": (f"{SAID}{CHANNEL}analysis{MESSAGE}{THOUGHT}", SAID, THOUGHT),
    "no marks": (f"analysis{THOUGHT}assistantfinal{SAID}", SAID, THOUGHT),
    "no marks, and no full stop": ("analysisWe add. Answer 4assistantfinal4", "4", "We add. Answer 4"),
    "no marks, a quotation first": (f'analysis"Which port?" Easy.assistantfinal{SAID}', SAID, '"Which port?" Easy.'),
    "no marks, twice": (f"analysisOne.assistantanalysisTwo.assistantfinal{SAID}", SAID, "One.Two."),
    "no marks, with a call": (
        f"analysisOne.assistantcommentary to={CALL} json{{}}assistantfinal{SAID}", SAID, f"One. to={CALL} json{{}}"
    ),
    "no marks, a call first": (f"commentary to={CALL} json{{}}assistantfinal{SAID}", SAID, f" to={CALL} json{{}}"),
    "no marks, the role first": (f"assistantanalysisOne.assistantfinal{SAID}", SAID, "One."),
    "no marks, final alone": (f"assistantfinal{SAID}", SAID, ""),
    "some marks": (f"analysisOne.{END}{FINAL}{SAID}{RETURN}", SAID, "One."),
    "think": (f"<think>{THOUGHT}</think>{SAID}", SAID, THOUGHT),
    "think with empty lines": (f"<think>\n{THOUGHT}\n</think>\n\n{SAID}", f"\n\n{SAID}", f"\n{THOUGHT}\n"),
    "thinking": (f" <thinking>{THOUGHT}</thinking>{SAID}", SAID, THOUGHT),
    "an empty think": (f"<think>\n\n</think>\n\n{SAID}", f"\n\n{SAID}", "\n\n"),
    "think without an end": (f"<think>{THOUGHT} </thin", "", f"{THOUGHT} </thin"),
    "think, then no marks": (f"<think>{THOUGHT}</think>assistantfinal{SAID}", SAID, THOUGHT),
    "a mark of harmony in a think": (f"<think>It is <b> {END} </b>.</think>{SAID}", SAID, f"It is <b> {END} </b>."),
}  # fmt: skip

# Of these every character is the answer's, whatever the model is called.
ANSWERS = {
    "nothing": "",
    "only space": " \n ",
    "the word": "analysis",
    "the word in a sentence": "analysis of the data shows that tomatoes need sun.",
    "the word with a capital": "Analysis of the data shows that tomatoes need sun.",
    "a heading": "Analysis\n\nWe need more sun.",
    "a heading in lower case": "analysis\n\nWe need more sun.",
    "the word and a colon": "analysis: We need more sun.",
    "the word's own": "analysis's end",
    "code": "analysis_of(data) and analysis(data)",
    "the other words": "final answer: assistant, commentary, analysis",
    "finally": "finally, assistants finalise analyses",
    "an assistant": "assistant professors wrote it",
    "glued in the middle": "He said: analysisWe need.assistantfinalParis.",
    "to": "to=5 is what the setting says",
    "think in prose": "The mark <think> opens what a model thinks, and </think> ends it.",
    "think in code": "```html\n<think>a</think>\n```",
    "think later": "Yes.\n<think>a</think>",
    "another tag": "<thead><tr></tr></thead>",
    "marks in code": f"Write `{FINAL}` and then `{END}`, or:\n```\n{START}assistant{ANALYSIS}hm{END}{FINAL}4\n```\n.",
    "marks in prose": f"A message begins with {START} and ends with {END}; {CHANNEL} names its channel.",
    "a mark first": f"{CHANNEL} names the channel, and {MESSAGE} begins the text.",
    "less than": "a <| b and c <|d|> e <",
    "a comparison": "x < y | z",
}


def parts(text: str, *cuts: int, gpt_oss: bool = False) -> tuple[str, str]:
    """The answer and the reasoning of a text that comes in pieces, cut at these places; nothing may be lost."""
    channels = Channels(gpt_oss=gpt_oss)
    edges = [0, *cuts, len(text)]
    given = [one for at, end in pairwise(edges) for one in channels.feed(text[at:end])]
    given += channels.end()
    assert "".join(one.text for one in given) == text
    answer, reasoning = ("".join(one.text for one in given if one.kind == kind) for kind in ("answer", "reasoning"))
    return answer, reasoning


@pytest.mark.parametrize("gpt_oss", [True, False], ids=["gpt-oss", "another model"])
@pytest.mark.parametrize("shape", SHAPES)
def test_reasoning_is_told_from_the_answer_wherever_the_text_is_cut(shape: str, gpt_oss: bool) -> None:
    """Letter by letter, in two pieces at every place, and in three at some: always the same."""
    text, answer, reasoning = SHAPES[shape]
    told = parts(text, gpt_oss=gpt_oss)
    assert (told[0].strip(), told[1]) == (answer.strip(), reasoning)
    places = range(len(text) + 1)
    assert parts(text, *places, gpt_oss=gpt_oss) == told
    some = random.Random(shape).sample(list(combinations(places, 2)), 200)
    for cuts in [*((at,) for at in places), *some]:
        assert parts(text, *cuts, gpt_oss=gpt_oss) == told, cuts


@pytest.mark.parametrize("gpt_oss", [True, False], ids=["gpt-oss", "another model"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_ordinary_answer_is_left_as_it_is(answer: str, gpt_oss: bool) -> None:
    """Also one about analyses, about `<think>`, or about harmony's own marks."""
    text = ANSWERS[answer]
    for cuts in [(), range(len(text) + 1), *((at,) for at in range(len(text)))]:
        assert parts(text, *cuts, gpt_oss=gpt_oss) == (text, ""), cuts


FRAGMENTS = [
    START, CHANNEL, MESSAGE, END, RETURN, "<|call|>", "<|constrain|>", "assistant", "analysis", "final", "commentary",
    " to=functions.x", "to=user", "<think>", "</think>", "<thinking>", "</thinking>", " ", "\n", "We need", "é", "`",
    "<|", "<", "|>", "a", "json", " of", "x" * 60, "user", "1",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.randoms(use_true_random=False), st.booleans())
def test_whatever_comes_nothing_is_lost_and_no_cut_matters(
    fragments: list[str], choice: random.Random, gpt_oss: bool
) -> None:
    """Marks in any disorder; `parts` looks whether all characters are there."""
    text = "".join(fragments)
    whole = parts(text, gpt_oss=gpt_oss)
    cuts = sorted(choice.choices(range(len(text) + 1), k=4))
    assert parts(text, *cuts, gpt_oss=gpt_oss) == whole
    assert parts(text, *range(len(text) + 1), gpt_oss=gpt_oss) == whole


@pytest.mark.parametrize("text", ["analysisWe need to think.", "analysisResult holds the sum.", "commentary to=x {}"])
def test_a_suspect_without_a_final_is_reasoning_only_by_a_gpt_oss(text: str) -> None:
    """It may be the name of a variable; a model that is known to write so was cut off."""
    word = "commentary" if text.startswith("c") else "analysis"
    assert parts(text, 10, gpt_oss=True) == ("", text.removeprefix(word))
    assert parts(text, 10) == (text, "")


def test_a_suspect_is_not_held_back_for_ever() -> None:
    """After 20,000 characters it is an answer, and streams like one."""
    channels = Channels()
    assert channels.feed("analysisWe " + "x" * 10_000) == []
    assert channels.feed("x" * 10_000) == [Stretch("answer", "analysisWe " + "x" * 20_000)]
    assert parts("analysisWe " + "x" * 20_000 + "assistantfinalParis")[1] == ""


@pytest.mark.parametrize(
    ("fed", "held"),
    [
        pytest.param("The", "", id="an answer"),
        pytest.param("A", "", id="a capital"),
        pytest.param("anal", "anal", id="what may become analysis"),
        pytest.param("and", "", id="what cannot"),
        pytest.param("x <", "<", id="what may become a mark"),
        pytest.param("x < ", "", id="what did not"),
        pytest.param("<th", "<th", id="what may become think"),
        pytest.param("<table>", "", id="another tag"),
        pytest.param(f"{ANALYSIS}a", "a", id="the first letter of assistant"),
        pytest.param(f"{ANALYSIS}a ", "", id="any other word"),
    ],
)
def test_as_little_as_possible_is_held_back(fed: str, held: str) -> None:
    """What cannot become anything else is given on at once."""
    given = "".join(one.text for one in Channels().feed(fed))
    assert fed.removeprefix(given) == held


def test_a_long_text_costs_no_time() -> None:
    """A hundred thousand characters in small pieces, also while they are held back."""
    for begin in ("<think>", "analysisWe", "Yes. ", ANALYSIS):
        channels, started = Channels(), time.process_time()
        for _ in range(25_000):
            channels.feed("wor ")
        assert time.process_time() - started < 3, begin


def sorted_pieces(*pieces: tuple[str, tuple[float, ...] | None], model: str = "phi-4-mini") -> list[Text | Reasoning]:
    """What becomes of a server's pieces."""
    sorter = Sorter([model])
    return [one for text, logprobs in pieces for one in sorter.feed(text, logprobs)] + sorter.end()


def test_a_piece_of_the_answer_keeps_its_log_probabilities() -> None:
    """Those of marks and reasoning are no part of it, also where a piece had to be held back."""
    given_on = sorted_pieces(
        ("<|channel|>", (-9.0,)), ("analysis", (-9.0,)), (MESSAGE, (-9.0,)), ("Hm", (-9.0,)), (END, (-9.0,)),
        (START, (-9.0,)), ("assistant", (-9.0,)), (CHANNEL, (-9.0,)), ("final", (-9.0,)), (MESSAGE, (-9.0,)),
        ("Port", (-0.1,)), (" a", (-0.2,)), ("b", (-0.3,)), (RETURN, (-9.0,)),
    )  # fmt: skip
    assert given_on == [Reasoning("Hm"), Text("Port", (-0.1,)), Text(" a", (-0.2,)), Text("b", (-0.3,))]


def test_a_piece_that_is_only_partly_of_the_answer_has_none() -> None:
    """Which of its numbers are the answer's is not known."""
    given_on = sorted_pieces(("<think>Hm</think>Port", (-0.1, -0.2, -0.3)), (" 8000", (-0.4,)))
    assert given_on == [Reasoning("Hm"), Text("Port"), Text(" 8000", (-0.4,))]
    assert sorted_pieces((f"Port 8000{RETURN}", (-0.1, -0.2))) == [Text("Port 8000")]


def test_pieces_without_a_mark_take_the_short_way_and_come_to_the_same() -> None:
    """Also the code in them is seen, in which marks are text."""
    told = f"See `x` and `{FINAL}` and `{END}`; then {END}{FINAL}end"
    pieces = [(one, None) for one in re.split(r"(?<=[` ])", told)]
    assert "".join(one.text for one in sorted_pieces(*pieces)) == f"See `x` and `{FINAL}` and `{END}`; then \n\nend"
    assert parts(told)[0] == f"See `x` and `{FINAL}` and `{END}`; then end"


def test_a_model_is_a_gpt_oss_by_any_of_its_names() -> None:
    """The one it was asked for under, or the one that its server reports."""
    for name in ("gpt-oss-20b", "openai/gpt-oss-120b", "gpt-oss:20b", "GPT_OSS_20B.gguf"):
        assert sorted_pieces(("analysisWe need", None), model=name) == [Reasoning("We need")]
    assert sorted_pieces(("analysisWe need", None), model="gpt-4o") == [Text("analysisWe need")]


def test_messages_of_the_same_kind_are_told_apart_by_an_empty_line() -> None:
    """Two thoughts are two paragraphs; so are two answers."""
    text = f"{ANALYSIS}One.{END}{START}assistant{ANALYSIS}Two.{END}{FINAL}Three.{END}{FINAL}Four.{RETURN}"
    given_on = sorted_pieces(*[(letter, None) for letter in text])
    assert "".join(one.text for one in given_on if isinstance(one, Reasoning)) == "One.\n\nTwo."
    assert "".join(one.text for one in given_on if isinstance(one, Text)) == "Three.\n\nFour."


def test_stretches_say_what_the_marks_were() -> None:
    """For whoever wants to see how a text was read."""
    assert Channels().feed(f"{FINAL}Four.{RETURN}x") == [
        Stretch("mark", FINAL), Stretch("answer", "Four."), Stretch("mark", RETURN), Stretch("answer", "x"),
    ]  # fmt: skip
