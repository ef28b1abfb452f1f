"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag.commands.terminal import write_files
from rag.errors import FileError
from rag.writing import write_whole


def test_a_new_file_is_written_and_an_old_one_only_when_told(tmp_path: Path) -> None:
    """Nothing else is left beside it."""
    path = tmp_path / "out.json"
    write_whole(path, b"one", over=False)
    with pytest.raises(FileExistsError):
        write_whole(path, b"two", over=False)
    assert path.read_bytes() == b"one"
    write_whole(path, b"two", over=True)
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_while_another_is_written_is_kept(tmp_path: Path) -> None:
    """Also in the last moment."""
    path = tmp_path / "out.json"

    def appears() -> bool:
        path.write_text("precious", encoding="utf-8")
        return True

    with pytest.raises(FileExistsError):
        write_whole(path, b"mine", over=False, still=appears)
    assert path.read_text(encoding="utf-8") == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_where_it_is_no_longer_to_be_done(tmp_path: Path) -> None:
    """And what was begun is gone."""
    write_whole(tmp_path / "a", b"x", over=True, still=lambda: False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs links and permissions")
def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    """The link stays one; a new private file is for its owner alone."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_whole(link, b"new", over=True)
    assert link.is_symlink()
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"new", 0o640)
    write_whole(tmp_path / "own", b"x", over=False, private=True)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="needs /dev/stdout")
def test_what_is_no_file_is_written_to() -> None:
    """Here a pipe, which has a name and no place."""
    program = (
        "from pathlib import Path; from rag.writing import write_whole as w; w(Path('/dev/stdout'), b'x', over=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "x"


FULL = """
import resource, sys
from pathlib import Path
from rag.commands.terminal import write_files
from rag.errors import FileError
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
big, small = Path(sys.argv[1]), Path(sys.argv[2])
try:
    write_files([(big, "x" * 5000), (None, "y"), (small, "caf\\udce9")], force=True, remedy="They are above.")
except FileError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit of the system")
def test_a_full_disk_leaves_the_old_file_and_keeps_no_other_from_being_written(tmp_path: Path) -> None:
    """A sentence says which; a letter that UTF-8 has not is a question mark."""
    big, small = tmp_path / "big", tmp_path / "small"
    big.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(big), str(small)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{big} cannot be written (File too large). They are above.\n"
    assert (big.read_bytes(), small.read_bytes()) == (b"old", b"caf?")
    assert sorted(tmp_path.iterdir()) == [big, small]


def test_each_fault_is_told(tmp_path: Path) -> None:
    """In a sentence of its own."""
    there = tmp_path / "there"
    there.write_bytes(b"precious")
    with pytest.raises(FileError) as raised:
        write_files([(there, "a"), (tmp_path / "no" / "x", "b")], force=False)
    first, second = str(raised.value).splitlines()
    assert first == f"{there} exists by now and is kept. Name another file. With --force it is replaced."
    assert second.endswith("cannot be written (No such file or directory). Name another file.")
    assert there.read_bytes() == b"precious"
