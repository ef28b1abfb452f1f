"""What is known of each file, and what differs between two states."""

from __future__ import annotations

import json

import pytest

from rag.catalogue import Change, Entry, from_columns, to_columns

READ = Entry("a.md", 10, 20, 30, "d1", 2, "Title", "en")


@pytest.mark.parametrize(
    ("entry", "fate", "indexed"),
    [
        pytest.param(READ, "2 chunks", True, id="read"),
        pytest.param(Entry("a.md", digest="d1", chunks=1), "1 chunk", True, id="one chunk"),
        pytest.param(Entry("a.md", digest="d1", chunks=1, copy_of="b.md"), "the same text as b.md", False, id="copy"),
        pytest.param(Entry("a.xyz", reason="no reader for .xyz"), "left out: no reader for .xyz", False, id="left out"),
    ],
)
def test_each_file_has_a_fate_in_words(entry: Entry, fate: str, indexed: bool) -> None:
    """Only a document that is read and is nobody's copy has chunks of its own in the index."""
    assert (entry.fate, entry.indexed) == (fate, indexed)


def by_name(*entries: Entry) -> dict[str, Entry]:
    """Entries as a shelf has them."""
    return {entry.name: entry for entry in entries}


def test_a_change_names_what_a_reader_would_notice() -> None:
    """The text counts: not the stamp, not a file that is left out before and after."""
    bad, worse = Entry("bad", reason="damaged"), Entry("bad", reason="encrypted")
    before = by_name(Entry("same", 1, digest="s"), Entry("old", digest="o"), Entry("gone", digest="g"), bad)
    after = by_name(Entry("same", 2, digest="s"), Entry("old", digest="n"), Entry("new", digest="g"), worse)
    change = Change.between(before, after)
    assert change == Change(("new",), ("old",), ("gone",))
    assert change.sentence == "docs updated: 1 added, 1 changed, 1 removed"


def test_a_document_that_can_no_longer_be_read_is_removed_and_one_that_now_can_is_added() -> None:
    """For answers it makes no difference why a document is not there."""
    read, unread = by_name(Entry("a", digest="d")), by_name(Entry("a", reason="damaged"))
    assert Change.between(read, unread) == Change(removed=("a",))
    assert Change.between(unread, read) == Change(added=("a",))


def test_a_copy_is_a_document_too() -> None:
    """Which of two is indexed and which is the copy is no news; that there are two is."""
    alone = by_name(Entry("b", digest="d"))
    both = by_name(Entry("a", digest="d"), Entry("b", digest="d", copy_of="a"))
    assert Change.between(alone, both) == Change(added=("a",))


def test_nothing_changed_is_false_and_zeros_are_not_told() -> None:
    """What did not happen is not in the sentence."""
    assert not Change()
    assert Change(removed=("a", "b")).sentence == "docs updated: 2 removed"


@pytest.mark.parametrize("entries", [[], [READ, Entry("b.xyz", reason="no reader"), Entry("c", copy_of="a.md")]])
def test_entries_survive_json(entries: list[Entry]) -> None:
    """Columns give back the same entries by name, in their order; an empty list has no rows."""
    columns = json.loads(json.dumps(to_columns(entries)))
    assert list(from_columns(columns).items()) == [(entry.name, entry) for entry in entries]


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({}, id="no columns"),
        pytest.param(to_columns([READ]) | {"size": []}, id="one column is shorter"),
        pytest.param(to_columns([READ]) | {"size": None}, id="no list"),
    ],
)
def test_what_are_not_columns_of_entries_is_refused(columns: dict[str, list[object]]) -> None:
    """A saved index with such a list is built anew."""
    with pytest.raises((KeyError, ValueError, TypeError)):
        from_columns(columns)
