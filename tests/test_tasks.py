"""
The set-up and the tasks, as a person at a terminal meets them.

Most tests run tasks.py in a small project of its own: the same program, with requirements of one tiny
wheel that lies beside it, so that no test needs the network.
"""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
import venv_setup
from venv_setup import Python, TaskError

ROOT = Path(tasks.__file__).parent
WINDOWS = sys.platform == "win32"
DEAD_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_NO_INDEX": ""}
NO_BROWSER = {"RAG_CHROMIUM": os.devnull + "/chromium"}
OLD = Python("/usr/bin/python3", (3, 9, 7))


class Project:
    """A folder with tasks.py and requirements of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tasks.py", "venv_setup.py"):
            shutil.copy(ROOT / name, folder)
        write_wheel(folder / "tiny-1.0-py3-none-any.whl")
        self.require("./tiny-1.0-py3-none-any.whl")
        self.write("requirements-model.txt", "# nothing\n")
        self.write("requirements-dev.txt", "# nothing\n")
        self.write("requirements-scale.txt", "# nothing\n")
        self.write("requirements-foundry.txt", "# nothing\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def require(self, line: str) -> None:
        self.write("requirements.txt", line + "\n")

    @property
    def environment(self) -> venv_setup.Environment:
        return venv_setup.Environment(self.folder / ".venv")

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Start a task as its own process group, as a terminal would."""
        ours = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "",
            "PYTHONWARNINGS": "",
        }
        return subprocess.Popen(
            [sys.executable, "tasks.py", *arguments],
            cwd=self.folder,
            env={**os.environ, "CI": "", **ours, **env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        process = self.start(*arguments, **env)
        output, _ = process.communicate(timeout=60)
        assert "Traceback" not in output
        return process.returncode, output


def write_wheel(path: Path) -> None:
    """Write the smallest package that pip installs."""
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project that has been set up, and what the set-up said."""
    project = Project(tmp_path_factory.mktemp("project"))
    status, output = project.run("setup")
    assert status == 0, output
    return project, output


@pytest.fixture
def project(first_run: tuple[Project, str]) -> Iterator[Project]:
    """The set-up project, with its requirements put back afterwards."""
    project, _ = first_run
    asked = (project.folder / "requirements.txt").read_bytes()
    yield project
    (project.folder / "requirements.txt").write_bytes(asked)


def test_set_up_tells_its_steps_and_what_to_do_next(first_run: tuple[Project, str]) -> None:
    """Each step has a number and a sentence; the last line names the next command."""
    _, output = first_run

    assert f"[1/3] Making .venv with {venv_setup.running_python().name}" in output
    assert "[2/3] Installing the chat's packages" in output
    assert "[3/3] Installing the small language model" in output
    assert output.endswith(f"Everything is set up. Start the chat: {venv_setup.command('run')}\n")


def test_a_second_set_up_does_nothing(project: Project) -> None:
    """What is installed as asked is left alone: pip is not even started, so no network is needed."""
    log = project.environment.log
    before = log.stat().st_mtime_ns

    status, output = project.run("setup", **DEAD_INDEX)

    assert status == 0
    assert output.splitlines() == [f"Everything is set up. Start the chat: {venv_setup.command('run')}"]
    assert log.stat().st_mtime_ns == before


def test_changed_requirements_are_installed_alone(project: Project) -> None:
    """A requirements file that changed is installed anew; the .venv and the other parts stay."""
    project.require("./tiny-1.0-py3-none-any.whl  # the same, for another reason")

    status, output = project.run("setup")

    assert status == 0
    assert "[1/1] Installing the chat's packages" in output


def test_without_network_set_up_says_so_and_keeps_what_works(project: Project) -> None:
    """The message names the cause, the remedy and the log; a .venv that works is not thrown away."""
    asked = (project.folder / "requirements.txt").read_text()
    project.require("surely-not-here==1.0")

    status, output = project.run("setup", **DEAD_INDEX)

    assert status == 1
    assert "No network: pip could not reach the package index. Connect, or set PIP_INDEX_URL" in output
    assert str(project.environment.log) in output
    project.require(asked.strip())
    assert project.run("setup", **DEAD_INDEX)[0] == 0


def test_a_package_without_a_build_for_this_machine_is_named(project: Project) -> None:
    """The message names the package, the Python and the system, and what would do."""
    project.require("surely-not-here==1.0")

    status, output = project.run("setup")

    assert status == 1
    assert "The package index has no surely-not-here==1.0 for Python 3." in output
    assert "Use 64-bit Python 3.11, 3.12 or 3.13" in output


def test_a_moved_and_a_half_made_environment_are_made_anew(project: Project, tmp_path: Path) -> None:
    """A .venv from another path, one without a working Python, and one cut short are not trusted."""
    moved = Project(tmp_path)
    shutil.copytree(project.environment.folder, moved.environment.folder, symlinks=True)
    assert moved.environment.why_rebuild() == "was moved here from another place"

    project.environment.unfinished.touch()
    assert "half-made" in str(project.environment.why_rebuild())
    project.environment.unfinished.unlink()
    assert project.environment.why_rebuild() is None

    python = Path(moved.environment.python)
    python.unlink()
    if not WINDOWS:
        python.symlink_to("/nowhere/python3")
    status, output = moved.run("setup")

    assert status == 0
    assert "The .venv here has no Python that runs; making it anew." in output
    assert moved.environment.missing(venv_setup.RUNTIME) == []


@pytest.mark.skipif(WINDOWS, reason="signals a process group, as only POSIX terminals do")
def test_ctrl_c_during_set_up_ends_with_a_sentence(project: Project) -> None:
    """An index that never answers is left with Ctrl-C: status 130, and the .venv is as good as before."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        project.require("surely-not-here==1.0")
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        process = project.start("setup", **{**DEAD_INDEX, "PIP_INDEX_URL": index})
        silent.settimeout(20)
        asking, _ = silent.accept()
        with asking:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Stopped. Run it again to go on." in output
    assert "Traceback" not in output
    assert project.environment.why_rebuild() is None


@pytest.mark.skipif(WINDOWS, reason="holds the lock as POSIX does")
def test_a_second_set_up_waits_for_the_first(project: Project) -> None:
    """Two set-ups at once, as from two terminals, work one after the other."""
    project.require("./tiny-1.0-py3-none-any.whl  # changed, so that there is work")
    with venv_setup.only_one(project.folder / ".venv.lock"):
        process = project.start("setup")
        assert process.stdout is not None
        assert "Another set-up is at work in this folder; waiting" in process.stdout.readline()
        time.sleep(0.2)
        assert process.poll() is None

    assert "[1/1]" in process.communicate(timeout=30)[0]
    assert process.returncode == 0


@pytest.mark.parametrize("way", ["option", "environment", ".env"])
def test_a_taken_port_is_named_with_a_way_out(project: Project, way: str) -> None:
    """The chat does not start on a port where something else listens, however the port was chosen."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        if way == ".env":
            project.write(".env", f"CHAINLIT_PORT={port}\n")
        option = ["--port", str(port)] if way == "option" else []
        env = {"CHAINLIT_PORT": str(port)} if way == "environment" else {}

        status, output = project.run("run", *option, **env)

    (project.folder / ".env").unlink(missing_ok=True)
    assert status == 1
    assert output.startswith(f"Port {port} is taken")
    assert f"{port + 1}`" in output


@pytest.mark.parametrize("port", ["0", "70000", "eight"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """A port is a number from 1 to 65535."""
    with pytest.raises(TaskError, match=f"from 1 to 65535, was: {port}"):
        tasks.port_number(port)


def test_the_wrong_python_is_named_with_what_to_install() -> None:
    """Nothing suitable found: the message has the version at hand and the versions that would do."""
    with pytest.raises(TaskError, match=r"needs Python 3\.11, 3\.12 or 3\.13; this is Python 3\.9\.7"):
        venv_setup.choose_python(OLD, [None, Python("/opt/python3", (3, 14, 0))])


def test_another_suitable_python_is_used_when_the_running_one_is_not() -> None:
    """The first suitable one of PATH is taken; what does not run (None) is passed over."""
    found = Python("/opt/python3.12", (3, 12, 1))

    assert venv_setup.choose_python(OLD, [None, found]) == found


def test_too_little_disk_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    """The message has the space that is free and the space that is needed."""
    with pytest.raises(TaskError, match=r"200 MB are free in .* needs about 1500 MB"):
        venv_setup.check_space(tmp_path, 1500, free=200 * 10**6)
    venv_setup.check_space(tmp_path, 1500, free=1500 * 10**6)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left", "The disk is full"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Perm", "No permission to write"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("Retrying ... NameResolutionError ...\nCollecting b\nERROR: b has no setup.py", "pip failed: b has"),
    ],
    ids=["disk", "permission", "certificate", "network-trouble-that-was-overcome"],
)
def test_what_pip_failed_of_is_told_with_its_remedy(log: str, sentence: str) -> None:
    """The cause comes from pip's own words about the package at which it stopped."""
    message = venv_setup.explain_pip(log, Python("python3", (3, 12, 1)), Path("setup.log"))

    assert sentence in message
    assert message.endswith("setup.log")


def test_a_debian_without_venv_is_told_which_package_to_install() -> None:
    """The remedy names the package of the very version that was used."""
    said = "The virtual environment was not created successfully because ensurepip is not available."

    message = venv_setup.explain_venv(said, Python("/usr/bin/python3.12", (3, 12, 3)))

    assert "sudo apt install python3.12-venv" in message


def test_the_closing_line_adds_up_both_runs(project: Project) -> None:
    """Tests with and without a browser run apart; one last line has the totals."""
    write_tests(project)

    status, output = run_tests(project, RAG_CHROMIUM=sys.executable)

    assert status == 1
    assert output.splitlines()[-1] == "3 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("ci", "line"), [("", "2 passed, 0 failed, 2 skipped"), ("true", "2 passed, 1 failed, 1 skipped")]
)
def test_without_a_browser_its_tests_are_skipped_except_in_ci(project: Project, ci: str, line: str) -> None:
    """A person without Chromium is told how many tests did not run and why; CI fails."""
    write_tests(project)

    status, output = run_tests(project, "--deselect=test_it.py::test_bad", CI=ci, **NO_BROWSER)

    assert status == (1 if ci else 0)
    assert output.splitlines()[-2].startswith("1 browser tests did not run: RAG_CHROMIUM names no file")
    assert output.splitlines()[-1] == line


def test_no_tests_at_all_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """A filter that leaves nothing must not look like success; one that empties one run of two may."""
    empty, full = tasks.Tests(5, Counter()), tasks.Tests(0, Counter(passed=2))

    assert tasks.report([empty, full], "") == 0
    assert tasks.report([empty, empty], "") == 1
    assert capsys.readouterr().out.endswith("No test was found.\n0 passed, 0 failed, 0 skipped\n")


def test_a_run_that_crashed_counts_as_a_failure(tmp_path: Path) -> None:
    """Without results there is nothing to count, but the closing line must not look clean."""
    assert tasks.count(tmp_path / "results.xml", status=-11) == Counter(failed=1)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({}, not sys.platform.startswith("linux")),
    ],
    ids=["desktop", "ci", "no-display"],
)
def test_a_browser_window_opens_only_where_somebody_sees_it(env: dict[str, str], expected: bool) -> None:
    """Without a screen the server starts alone."""
    assert tasks.has_screen(env) is expected


def write_tests(project: Project) -> None:
    """Two tests that pass, one that fails, one skipped, and one for a browser."""
    project.write("pytest.ini", "[pytest]\nmarkers = browser\naddopts = -p no:cacheprovider\n")
    project.write(
        "test_it.py",
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_fine(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip\ndef test_later(): pass\n"
        "@pytest.mark.browser\ndef test_page(): pass\n",
    )


def run_tests(project: Project, *arguments: str, **env: str) -> tuple[int, str]:
    """Run the project's tests with the pytest of this very process."""
    pytest_lives_in = str(Path(pytest.__file__).parent.parent)
    return project.run("test", *arguments, PYTHONPATH=pytest_lives_in, **env)


@pytest.mark.parametrize("name", ["tasks.py", "venv_setup.py"])
def test_an_old_interpreter_can_read_the_program(name: str) -> None:
    """Only what reads can refuse with a sentence: the syntax is that of Python 3.7 at most."""
    ast.parse((ROOT / name).read_text(), feature_version=(3, 7))
