"""Words, numbers and sentences."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text import estimate_tokens, numbers, sentences, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("the of and", [], id="only stop words"),
        pytest.param("🙂🎉", [], id="only emoji"),
        pytest.param(
            "FOUNDRY_LOCAL_ENDPOINT",
            ["foundri", "local", "endpoint", "foundry_local_endpoint"],
            id="identifier by its parts and whole",
        ),
        pytest.param("gpt-oss-20b", ["gpt", "oss", "20b", "gpt-oss-20b"], id="model name"),
        pytest.param("--no-deps", ["no", "dep", "no-deps"], id="command-line flag"),
        pytest.param("version 2.4.6", ["version", "2", "4", "6", "2.4.6"], id="version"),
        pytest.param("in rag/text.py:", ["rag", "text", "py", "text.py", "rag/text.py"], id="path, file, parts"),
        pytest.param("streamTokens", ["stream", "token", "streamtoken"], id="camel case"),
        pytest.param("C++ and C#", ["c", "c++", "c", "c#"], id="names with a symbol"),
        pytest.param("1,024 MB", ["1024", "mb"], id="thousands"),
        pytest.param("and/or, e.g. i.e.", [], id="function words with marks between"),
        pytest.param("co\u00adoper\u200date", ["cooper"], id="invisible marks"),
        pytest.param("Café CAFE\u0301", ["cafe", "cafe"], id="accents folded"),
        pytest.param("पोर्ट ५२७३", ["पोर्ट", "5273"], id="digits of other scripts"),
        pytest.param("ＦＵＬＬ width", ["full", "width"], id="compatibility forms folded"),
        pytest.param("कार्यक्रम తెలుగు", ["कार्यक्रम", "తెలుగు"], id="combining marks kept"),
        pytest.param("Straße STRASSE", ["strass", "strass"], id="case folded"),
    ],
)
def test_words_are_the_same_for_documents_and_questions(text: str, expected: list[str]) -> None:
    """Unicode words, folded and stemmed; what carries no meaning is not searched."""
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("One. Two! Three?", ["One.", "Two!", "Three?"], id="each end"),
        pytest.param("It is, e.g. this. Next.", ["It is, e.g. this.", "Next."], id="abbreviation"),
        pytest.param("By J. K. Rowling. Next.", ["By J. K. Rowling.", "Next."], id="initials"),
        pytest.param("It takes 0.9 s. The rest waits.", ["It takes 0.9 s.", "The rest waits."], id="unit"),
        pytest.param("4. Start a server. Wait.", ["4. Start a server.", "Wait."], id="number of a list item"),
        pytest.param('Asked "why?" he left. End.', ['Asked "why?" he left.', "End."], id="quoted question"),
        pytest.param("Loading … then done. End.", ["Loading … then done.", "End."], id="dots inside"),
        pytest.param("Version 2.5 is out. It works.", ["Version 2.5 is out.", "It works."], id="number"),
        pytest.param("See www.example.com. Then go.", ["See www.example.com.", "Then go."], id="address"),
        pytest.param("यह है। वह था।", ["यह है।", "वह था।"], id="danda"),
        pytest.param("これ。それ。", ["これ。", "それ。"], id="no spaces"),
        pytest.param("Wait . . . So. What? ! Yes", ["Wait . . .", "So.", "What? !", "Yes"], id="marks apart"),
        pytest.param("Use .NET. It runs.", ["Use .NET.", "It runs."], id="dot before a name"),
        pytest.param("no end", ["no end"], id="no end"),
        pytest.param("  \n ", [], id="blank"),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    """A full stop inside an abbreviation, a number or an address ends nothing."""
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_what_has_no_full_stops_is_cut_at_line_ends() -> None:
    """A list of five thousand lines is not one sentence, and no line is cut in half."""
    lines = "\n".join(f"name {n} 555-{n:04}" for n in range(5000))
    spans = sentences(lines)
    assert max(end - start for start, end in spans) <= 600
    assert "\n".join(lines[start:end] for start, end in spans) == lines


def test_sentences_lose_no_word_of_a_long_text() -> None:
    """The spans are in order, do not overlap, and cover everything but whitespace."""
    text = "Alpha beta. Gamma delta e.g. epsilon! Zeta? " * 50
    spans = sentences(text)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))
    assert " ".join(text[start:end] for start, end in spans) == text.strip()


def test_numbers_compare_without_their_separators() -> None:
    """`1,024` in the answer is `1024` in the source, and a full stop is not part of a number."""
    assert numbers("It has 1,024 tokens and 7.5 ms in 2026.") == {("1024", "token"), ("7.5", "ms"), ("2026", "")}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("ten seconds", "10 s", True, id="words and abbreviations"),
        pytest.param("two seconds", "ten seconds", False, id="number words"),
        pytest.param("5 GB", "5 MB", False, id="units"),
        pytest.param("-5 degrees", "5 degrees", False, id="signs"),
        pytest.param("50 %", "50 percent", True, id="percent"),
        pytest.param("port 8000", "8000.", True, id="no unit"),
        pytest.param("10-20 words", "20 words", False, id="a range is two numbers, no sign"),
    ],
)
def test_numbers_agree_only_with_sign_and_unit(one: str, other: str, same: bool) -> None:
    """Five gigabytes are not five megabytes."""
    assert (numbers(one) == numbers(other)) is same


def test_estimated_tokens_grow_with_the_text_and_cost_more_in_other_scripts() -> None:
    """Latin text has about four characters a token, others about two."""
    assert estimate_tokens("") == 0
    assert estimate_tokens("a" * 40) == 10
    assert estimate_tokens("あ" * 40) == 20


@pytest.mark.parametrize(
    ("question", "document", "language"),
    [
        pytest.param("प्रम्प्टको पोर्ट", "पोर्ट ५२७३ हो। प्रम्प्टले भन्छ।", "ne", id="Nepali"),
        pytest.param("తెలుగు", "ఇది తెలుగు భాష.", "te", id="Telugu"),
        pytest.param("ಕನ್ನಡ", "ಇದು ಕನ್ನಡ ಭಾಷೆ.", "kn", id="Kannada"),
        pytest.param("storitev", "Vrata storitve so zaprta. Storitev teče.", "sl", id="Slovenian"),
        pytest.param("Häuser", "Das Haus und die Haeuser. Häusern", "de", id="German plural"),
        pytest.param("المكتبة", "مكتبة المدينة والمكتبة", "ar", id="Arabic"),
        pytest.param("東京", "私は東京都に住んでいます。", "ja", id="Japanese inside a sentence"),
        pytest.param("猫", "黒い猫がいる。", "ja", id="one Chinese character"),
        pytest.param("北京大学", "我在北京大学学习。", "zh", id="Chinese"),
        pytest.param("학교", "학교에서 배웁니다.", "ko", id="Korean with a particle"),
        pytest.param("กรุงเทพ", "ฉันอยู่ที่กรุงเทพมหานคร", "th", id="Thai"),
        pytest.param("Ёлка", "елка стоит", "ru", id="Russian"),
        pytest.param("model", "नेपालीमा models छन्", "ne", id="an English word in Nepali"),
    ],
)
def test_a_word_is_found_in_every_script(question: str, document: str, language: str) -> None:
    """What a reader takes for the same word is the same word."""
    asked = set(words(question, language))
    assert asked
    assert asked & set(words(document, language))


def test_indic_words_are_not_broken_at_their_vowel_signs() -> None:
    """A word of a script with combining marks stays one word."""
    assert len(words("कार्यान्वयन", "hi")) == 1
    assert len(words("ಕಾರ್ಯಗತಗೊಳಿಸುವಿಕೆ", "kn")) == 1
    assert len(words("செயல்படுத்தல்", "ta")) == 1


@given(st.text(max_size=200), st.sampled_from(["en", "de", "ne", "ja", "xx"]))
def test_words_of_anything_are_words(text: str, language: str) -> None:
    """Any text can be asked for its words, in any language, known or not; they are never empty."""
    made = words(text, language)
    assert all(word and not word.isspace() for word in made)
    assert made == words(text, language)


@pytest.mark.parametrize("piece", ["1,", "b-", "bc/", "x."], ids=["numbers", "hyphens", "paths", "dots"])
def test_a_name_without_end_costs_no_memory(piece: str) -> None:
    """A list without spaces is many names, not one of a million parts."""
    made = words(piece * 1_000_000)
    assert len(made) >= 1_000_000
    assert max(map(len, made)) < 200
