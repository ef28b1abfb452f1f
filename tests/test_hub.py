"""What a hub says of a file, and whether its bytes come whole, over connections and from hubs of every kind."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rag.errors import DownloadError, SettingsError
from rag.fetching import needed_memory
from rag.gguf import LISTED, Gguf, find
from rag.hub import Hub
from tests.hub_server import REVISION, hub_server

MODEL = Gguf("tiny", "slm", "someone/tiny-GGUF", "tiny.gguf", 3_000_000, 100, "mit", "for tests")
BYTES = b"GGUF" + bytes(range(256)) * 12_000  # about three pieces of a megabyte
PATH = f"/someone/tiny-GGUF/resolve/{REVISION}/tiny.gguf"


def opened(url: str, token: str | None = None) -> Hub:
    """A hub's client that does not wait long."""
    return Hub(url, SecretStr(token) if token else None, connect_s=2, silence_s=0.25, pause_s=0.001)


def nothing(work: str, done: int, whole: int) -> None:
    """Progress that nobody looks at."""


def test_a_hub_says_the_state_the_checksum_and_the_length_and_nothing_is_downloaded() -> None:
    """One question of the headers alone; the address is that of exactly this state."""
    with hub_server(BYTES) as server, opened(server.url) as hub:
        remote = hub.look_up(MODEL)
        assert (remote.revision, remote.bytes) == (REVISION, len(BYTES))
        assert remote.url == server.url + PATH
        assert [(one.method, one.path) for one in server.asked] == [
            ("HEAD", "/someone/tiny-GGUF/resolve/main/tiny.gguf")
        ]


@pytest.mark.parametrize(
    ("options", "downloads"),
    [
        pytest.param({}, ["bytes=0-"], id="at once"),
        pytest.param({"cut": [1_000_000]}, ["bytes=0-", "bytes=1000000-"], id="cut off in the middle"),
        pytest.param({"cut": [0, 0, 5]}, ["bytes=0-", "bytes=0-", "bytes=0-", "bytes=5-"], id="cut off thrice"),
        pytest.param({"cut": [1_000_000], "stall": True}, ["bytes=0-", "bytes=1000000-"], id="silent in the middle"),
        pytest.param({"cut": [9], "unsaid": True}, ["bytes=0-", "bytes=9-"], id="cut off, of no said length"),
        pytest.param({"cut": [9], "whole_only": True}, ["bytes=0-", "bytes=9-"], id="no parts: all of it again"),
        pytest.param({"fails": [503, 500]}, ["bytes=0-"] * 3, id="it fails twice"),
    ],
)
def test_a_broken_download_is_gone_on_with(tmp_path: Path, options: dict[str, Any], downloads: list[str]) -> None:
    """What came is not asked for again, and the whole has the checksum."""
    part = tmp_path / "part"
    with hub_server(BYTES, **options) as server, opened(server.url) as hub:
        hub.download(hub.look_up(MODEL), part, nothing)
        assert part.read_bytes() == BYTES
        assert [one.headers["range"] for one in server.downloads] == downloads


def test_a_download_that_was_stopped_earlier_is_gone_on_with(tmp_path: Path) -> None:
    """In another process, say; and progress counts what was there already."""
    part, told = tmp_path / "part", []
    part.write_bytes(BYTES[:2_000_000])
    with hub_server(BYTES) as server, opened(server.url) as hub:
        hub.download(hub.look_up(MODEL), part, lambda *step: told.append(step))
        assert [one.headers["range"] for one in server.downloads] == ["bytes=2000000-"]
    assert part.read_bytes() == BYTES
    assert min(done for work, done, _ in told if work == "download") > 2_000_000
    assert told[-1] == ("check", len(BYTES), len(BYTES))


def test_a_part_that_is_whole_is_only_checked(tmp_path: Path) -> None:
    """It was stopped between the last byte and the check."""
    part = tmp_path / "part"
    part.write_bytes(BYTES)
    with hub_server(BYTES) as server, opened(server.url) as hub:
        hub.download(hub.look_up(MODEL), part, nothing)
        assert server.downloads == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({"status": 401}, "does not give tiny.gguf of someone/tiny-GGUF to us (401). It may", id="401"),
        pytest.param({"status": 403}, "set RAG_HUB_TOKEN to a key that may read it.", id="403"),
        pytest.param({"status": 404}, "does not have tiny.gguf of someone/tiny-GGUF (404). It may", id="404"),
        pytest.param({"status": 429}, "has too much to do (429). Try again in some minutes.", id="429"),
        pytest.param({"status": 429, "headers": {"Retry-After": "60"}}, "Try again in 60 s.", id="429 and when"),
        pytest.param({"status": 500}, "failed (500). Try again later.", id="500"),
        pytest.param({"status": 503}, "failed (503). Try again later.", id="503"),
        pytest.param({"html": True}, "is no model hub: it sent text/html (status 200). Check", id="a page"),
        pytest.param({"revision": ""}, "is no model hub", id="no revision"),
        pytest.param({"revision": "../../etc"}, "is no model hub", id="a revision that is a path"),
        pytest.param({"sha256": "abc"}, "gives no size and SHA-256 of tiny.gguf", id="no checksum"),
        pytest.param({"size": -1}, "gives no size and SHA-256 of tiny.gguf", id="no length"),
    ],
)
def test_a_hub_that_refuses_is_a_sentence(options: dict[str, Any], sentence: str) -> None:
    """With its address, its status and a remedy; no byte was asked for."""
    with hub_server(BYTES, **options) as server, opened(server.url) as hub:
        with pytest.raises(DownloadError) as raised:
            hub.look_up(MODEL)
        assert sentence in str(raised.value)
        assert server.url in str(raised.value)
        assert server.downloads == []


def test_without_a_network_it_says_so() -> None:
    """Nobody listens on port 9."""
    with opened("http://127.0.0.1:9") as hub, pytest.raises(DownloadError) as raised:
        hub.look_up(MODEL)
    assert str(raised.value) == (
        "The model hub at http://127.0.0.1:9 cannot be reached. Is there a network? Nothing was changed. Try again, "
        "or set RAG_HUB_URL to a mirror."
    )


@pytest.mark.parametrize(
    ("options", "sentence", "kept"),
    [
        pytest.param({"cut": [100] + [0] * 9}, "The connection broke at 0 kB of 3 MB. The same", 100, id="cut off"),
        pytest.param({"cut": [5] * 9, "unsaid": True, "whole_only": True}, "The connection broke", 5, id="from anew"),
        pytest.param({"cut": [9] + [0] * 9, "stall": True}, "Nothing came for a while", 9, id="silent"),
        pytest.param({"fails": [503] * 9}, "The model hub failed (503) at 0 kB", None, id="it fails"),
        pytest.param({"fails": [429]}, "has too much to do (429)", None, id="too much to do"),
        pytest.param({"fails": [403]}, "does not give the file to us (403)", None, id="refused"),
        pytest.param({"extra": b"more"}, "sends a file of another length", None, id="too long, and says so"),
        pytest.param({"extra": b"more", "unsaid": True}, "its SHA-256 differs. It was deleted", None, id="too long"),
        pytest.param({"size": 100, "whole_only": True}, "another length than the 100 bytes", None, id="other length"),
        pytest.param({"shift": 1}, "sends a file of another length", None, id="another part"),
        pytest.param({"sha256": "0" * 64}, "its SHA-256 differs. It was deleted.", None, id="another checksum"),
    ],
)
def test_what_does_not_come_whole_is_a_sentence(
    tmp_path: Path, options: dict[str, Any], sentence: str, kept: int | None
) -> None:
    """What came is kept where it is the beginning of the file, and only there."""
    part = tmp_path / "part"
    with hub_server(BYTES, **options) as server, opened(server.url) as hub, pytest.raises(DownloadError) as raised:
        hub.download(hub.look_up(MODEL), part, nothing)
    assert sentence in str(raised.value)
    assert (part.stat().st_size if part.exists() else None) == kept


def test_a_page_in_place_of_the_bytes_is_not_taken_for_them(tmp_path: Path) -> None:
    """The network asked for a log-in after the hub was asked; what had come stays."""
    part = tmp_path / "part"
    part.write_bytes(BYTES[:1000])
    with hub_server(BYTES) as server, opened(server.url) as hub:
        remote = hub.look_up(MODEL)
        server.html = True
        with pytest.raises(DownloadError, match="is no model hub: it sent text/html"):
            hub.download(remote, part, nothing)
    assert part.read_bytes() == BYTES[:1000]


def test_bytes_may_come_from_another_host_which_is_sent_no_key(tmp_path: Path, caplog: Any) -> None:
    """Hubs keep them elsewhere. The key goes to the hub, and into no log."""
    caplog.set_level(logging.DEBUG)
    with hub_server(BYTES) as store, hub_server(BYTES, bytes_from=store) as server:
        with opened(server.url, "hf_secret") as hub:
            hub.download(hub.look_up(MODEL), tmp_path / "part", nothing)
        assert {one.headers.get("authorization") for one in server.asked} == {"Bearer hf_secret"}
        assert [one.path for one in store.asked] == [f"/signed{PATH}"]
        assert "authorization" not in store.asked[0].headers
    assert (tmp_path / "part").read_bytes() == BYTES
    assert "hf_secret" not in caplog.text


def test_a_repository_that_was_renamed_is_followed_on_the_same_hub(tmp_path: Path) -> None:
    """From the old name to the new one, with its state."""
    with hub_server(BYTES, moved_from="/someone/tiny-GGUF") as server, opened(server.url) as hub:
        remote = hub.look_up(MODEL)
        assert remote.url == f"{server.url}/new/home/resolve/{REVISION}/tiny.gguf"
        hub.download(remote, tmp_path / "part", nothing)


def test_a_hub_that_is_elsewhere_is_named_and_not_followed() -> None:
    """Its word is what the checksum rests on, so nobody else's is taken for it."""
    with hub_server(BYTES) as other, hub_server(BYTES, revision="", bytes_from=other) as server:
        with opened(server.url) as hub, pytest.raises(DownloadError, match=f"points to {other.url}/signed"):
            hub.look_up(MODEL)
        assert other.asked == []


def test_a_circle_of_redirects_ends(tmp_path: Path) -> None:
    """After a few of them."""
    with hub_server(BYTES) as server, opened(server.url) as hub:
        remote = hub.look_up(MODEL)
        server.bytes_from = server
        with pytest.raises(DownloadError, match="redirects in circles"):
            hub.download(remote, tmp_path / "part", nothing)


def test_user_and_password_in_the_address_are_not_shown() -> None:
    """A mirror may want them."""
    with opened("http://me:secret@127.0.0.1:9/hub/") as hub, pytest.raises(DownloadError) as raised:
        hub.look_up(MODEL)
    assert "secret" not in str(raised.value)
    assert "http://127.0.0.1:9/hub" in str(raised.value)


def test_a_key_with_a_line_break_is_refused_without_showing_it() -> None:
    """It was copied wrongly, and would break the request."""
    with pytest.raises(SettingsError) as raised:
        Hub("http://127.0.0.1:9", SecretStr("hf_se\ncret"))
    assert str(raised.value) == "RAG_HUB_TOKEN has characters that no key has. Copy it again."


def test_the_list_is_fit_to_be_asked_for() -> None:
    """Each name once, both roles, plain paths, and the permissive licences that the manual promises."""
    assert len({one.name for one in LISTED}) == len(LISTED) >= 4
    assert {one.role for one in LISTED} == {"slm", "llm"}
    assert {one.licence for one in LISTED} <= {"apache-2.0", "mit"}
    for one in LISTED:
        assert one.repo.count("/") == 1
        assert Path(one.file).name == one.file
        assert one.file.endswith(".gguf")


def test_the_manual_shows_the_list_as_it_is() -> None:
    """Name, role, size, memory and licence, in the table of docs/models.md."""
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    for one in LISTED:
        memory = needed_memory(one)
        sizes = f"{one.bytes / 1e9:.1f} GB | {memory / 1e9:.1f} GB"
        assert f"| `{one.name}` | {one.role.upper()} | {sizes} | {one.licence} |" in page


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("gpt-oss", "Did you mean gpt-oss-20b?", id="near"),
        pytest.param("phi4", "Did you mean phi-4-mini?", id="nearer"),
        pytest.param("x", "There are: qwen2.5-0.5b, ", id="like none"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name: str, hint: str) -> None:
    """Or all of them, where none is near."""
    with pytest.raises(DownloadError) as raised:
        find(name)
    assert hint in str(raised.value)


def test_the_memory_needed_is_the_file_the_context_and_a_margin() -> None:
    """By hand: 3 MB, 1,000 tokens of 100 bytes, 500 MB; or with the length that the hub says."""
    assert MODEL.memory_bytes(context_tokens=1000) == 503_100_000
    assert MODEL.memory_bytes(context_tokens=1000, file_bytes=4_000_000) == 504_100_000
