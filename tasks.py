"""
Set up, start and check the chat: the one implementation behind make, CI and Windows.

    python tasks.py setup | run | test | check | fix | bench

Only the standard library, in syntax that Python 3.6 reads (see venv_setup.py, which does the set-up).
"""

import argparse
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from xml.etree import ElementTree

from venv_setup import WINDOWS, TaskError, command, explain_os_error, say, set_up

ROOT = Path(__file__).resolve().parent
NOTHING_COLLECTED = 5  # pytest's exit status

# Starting the chat


def run(port: Optional[str]) -> int:
    """Set up and start the chat; on POSIX it takes this process over, so that signals reach it."""
    host = setting("CHAINLIT_HOST") or "127.0.0.1"
    number = port_number(port or setting("CHAINLIT_PORT") or "8000")
    check_port(host, number)
    python = set_up(ROOT)
    chat = [python, "-m", "chainlit", "run", "app.py", "--host", host, "--port", str(number)]
    if not has_screen(os.environ):
        chat.append("--headless")
    say(f"Starting the chat at http://{shown(host)}:{number} (Ctrl-C stops it).")
    os.chdir(str(ROOT))
    if not WINDOWS:
        os.execv(python, chat)
    return call(chat)


def setting(name: str) -> str:
    """A setting of the chat's server, from the environment or else from .env, as the server reads it."""
    dotenv = ROOT / ".env"
    lines = dotenv.read_text(encoding="utf-8", errors="replace") if dotenv.is_file() else ""
    found = re.search(rf"(?m)^\s*(?:export\s+)?{name}\s*=\s*[\"']?([^\s\"'#]*)", lines)
    return os.environ.get(name) or (found.group(1) if found else "")


def port_number(text: str) -> int:
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise TaskError(f"The port must be a number from 1 to 65535, was: {text}")


def shown(host: str) -> str:
    """The name under which this machine's browser finds a host that the server listens on."""
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::1", "::") else host  # noqa: S104


def check_port(host: str, port: int) -> None:
    """Refuse to start where something else answers, or where this machine may not listen."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as server:
            if not WINDOWS:  # there it would let two servers share a port
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
    except PermissionError:
        raise TaskError(f"This user may not listen on port {port}. Use {another_port(8001)}") from None
    except socket.gaierror:
        raise TaskError(f"CHAINLIT_HOST is not a host that this machine knows, was: {host}") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise TaskError(f"Cannot listen on {host}, port {port}: {error.strerror}") from None
        raise TaskError(
            f"Port {port} is taken, perhaps by a chat that runs already: see http://{shown(host)}:{port}. "
            f"Stop it, or use {another_port(port + 1)}"
        ) from None


def another_port(port: int) -> str:
    return f"`{command(f'run --port {port}' if WINDOWS else f'run PORT={port}')}`"


def has_screen(env: Mapping[str, str]) -> bool:
    """Whether opening a browser window makes sense: not in CI, nor on Linux without a desktop."""
    if is_ci(env):
        return False
    return not sys.platform.startswith("linux") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def is_ci(env: Mapping[str, str]) -> bool:
    return env.get("CI", "").lower() in ("true", "1")


def call(arguments: Sequence[str], env: Optional[Dict[str, str]] = None) -> int:
    """Run a command in the project's folder; on Ctrl-C, which it gets too, let it end first."""
    process = subprocess.Popen(arguments, cwd=str(ROOT), env=env)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


# Testing


class Tests(NamedTuple):
    """How a run of pytest ended: its exit status, and its tests counted by outcome."""

    status: int
    counts: "Counter[str]"


def test(extra: Sequence[str]) -> int:
    """Run all tests, those in a browser in a process of their own, and end with one line of totals."""
    python = set_up(ROOT, tools=True)
    browser, absent = find_chromium(os.environ)
    runs = [run_pytest(python, "not browser", extra, dict(os.environ))]
    if browser:
        runs.append(run_pytest(python, "browser", extra, dict(os.environ, RAG_CHROMIUM=browser)))
        sentence = ""
    else:
        runs.append(browser_tests_left_out(python, extra))
        sentence = f"{sum(runs[1].counts.values())} browser tests did not run: {absent}."
    return report(runs, sentence)


def run_pytest(python: str, mark: str, extra: Sequence[str], env: Dict[str, str]) -> Tests:
    """
    Run the tests with a mark.

    Synchronous Playwright leaves an event loop running, which fails async tests that come after it:
    so each mark has its own process.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        status = call([python, "-m", "pytest", "-m", mark, "--junitxml", str(results), *extra], env)
        return Tests(status, count(results, status))


def count(results: Path, status: int) -> "Counter[str]":
    """Count the tests in pytest's JUnit file; a run that died without writing one counts as one failure."""
    if not results.exists():
        return Counter(failed=0 if status in (0, NOTHING_COLLECTED) else 1)
    counts = Counter()  # type: Counter[str]
    for suite in ElementTree.parse(str(results)).getroot().iter("testsuite"):  # noqa: S314 (our own file)
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        counts.update(passed=int(suite.get("tests", 0)) - failed - skipped, failed=failed, skipped=skipped)
    return counts


def browser_tests_left_out(python: str, extra: Sequence[str]) -> Tests:
    """Count the browser tests without running them: skipped on a person's machine, failed in CI."""
    collect = [python, "-m", "pytest", "-m", "browser", "--collect-only", "-q", *extra]
    output = subprocess.Popen(collect, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = re.search(rb"(\d+)(?:/\d+)? tests? collected", output.communicate()[0])
    tests = int(found.group(1)) if found else 0
    if not tests:
        return Tests(NOTHING_COLLECTED, Counter())
    return Tests(1, Counter(failed=tests)) if is_ci(os.environ) else Tests(0, Counter(skipped=tests))


def report(runs: Sequence[Tests], sentence: str) -> int:
    """Print the closing line over all runs, and return the exit status."""
    total = sum((one.counts for one in runs), Counter())  # type: Counter[str]
    empty = all(one.status == NOTHING_COLLECTED for one in runs)
    if sentence:
        say(sentence)
    if empty:
        say("No test was found.")
    say(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(empty or any(one.status not in (0, NOTHING_COLLECTED) for one in runs))


def find_chromium(env: Mapping[str, str]) -> Tuple[str, str]:
    """The browser for the tests, or else why there is none."""
    named = env.get("RAG_CHROMIUM", "")
    if named:
        return (named, "") if Path(named).is_file() else ("", "RAG_CHROMIUM names no file: " + named)
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name, path=env.get("PATH", ""))
        if found:
            return found, ""
    programs = [env.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
    places = [Path(folder) / "Google/Chrome/Application/chrome.exe" for folder in programs if folder]
    places += [Path("/Applications") / app for app in MAC_BROWSERS]
    for place in places:
        if place.is_file():
            return str(place), ""
    return (
        "",
        "no Chromium was found; install one (on Debian: sudo apt install chromium), or set RAG_CHROMIUM",
    )


MAC_BROWSERS = ("Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium")

# Checking


def steps_of(task: str, extra: Sequence[str]) -> List[List[str]]:
    """The commands of a task, as arguments of the interpreter."""
    if task == "check":
        return [
            ["-m", "ruff", "format", "--check", "."],
            ["-m", "ruff", "check", "."],
            ["-m", "mypy"],
            ["-m", "pytest", "tests/test_architecture.py", "-q"],
        ]
    if task == "fix":
        return [["-m", "ruff", "format", "."], ["-m", "ruff", "check", "--fix", "."]]
    return [["benchmarks/run.py", *extra]]


def run_steps(task: str, extra: Sequence[str]) -> int:
    """Run all commands of a task, also after one has failed, and say at the end which did."""
    if task == "bench" and not (ROOT / "benchmarks/run.py").is_file():
        raise TaskError("There is no benchmarks/run.py to run.")
    python = set_up(ROOT, tools=True)
    failed = []
    for step in steps_of(task, extra):
        name = " ".join(step).replace("-m ", "")
        say("> " + name)
        if call([python, *step]):
            failed.append(name)
    say(f"{task}: {'failed: ' + ', '.join(failed) if failed else 'all well'}")
    return int(bool(failed))


# The command line


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tasks.py", description="Set up, start and check the chat.")
    tasks = parser.add_subparsers(dest="task", metavar="TASK")
    tasks.required = True
    for name, sentence in TASKS.items():
        task = tasks.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        if name == "run":
            task.add_argument("--port", help="where the page is served (default: CHAINLIT_PORT or 8000)")
    known, extra = parser.parse_known_args(argv)
    known.extra = extra
    if known.extra and known.task not in ("test", "bench"):
        parser.error(f"{known.task} does not know: {' '.join(known.extra)}")
    return known


TASKS = {
    "setup": "make the .venv and install what the chat needs; nothing if that is done",
    "run": "set up and start the chat in the browser",
    "test": "set up and run all tests; more arguments go to pytest",
    "check": "set up and check format, lint, types and architecture",
    "fix": "format and mend what can be mended by machine",
    "bench": "run the benchmarks; more arguments go to them",
}


def main(argv: Sequence[str]) -> int:
    given = arguments(argv)
    try:
        if given.task == "setup":
            set_up(ROOT)
            say(f"Everything is set up. Start the chat: {command('run')}")
            return 0
        if given.task == "run":
            return run(given.port)
        return test(given.extra) if given.task == "test" else run_steps(given.task, given.extra)
    except TaskError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(explain_os_error(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped. Run it again to go on.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
