"""
The child process that runs llama.cpp, because loading a model holds Python's lock for as long as it takes.

It reads one JSON line of options from standard input, writes one JSON line `{"url": …}` or `{"error": …}` to
standard output, and serves until standard input closes, which also happens when the parent dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def serve(options: dict[str, Any]) -> None:
    """Load a model and serve it. Options: `path, label, api_key, slots, context_tokens
    (shared by the slots), threads`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["path"]
    params.model_alias = {options["label"]}
    params.api_keys = [options["api_key"]]
    params.n_parallel = options["slots"]
    params.n_ctx = options["context_tokens"]
    params.kv_unified = True  # the slots share the context, so that memory does not grow with their number
    params.cache_ram_mib = 0  # llama.cpp would keep up to 8 GiB of old prompts
    params.cpuparams.n_threads = options["threads"] or os.cpu_count() or 1
    # Waiting threads sleep instead of spinning: beside a busy browser, spinning cost a factor of 100 in speed.
    params.cpuparams.poll = 0
    params.cpuparams_batch.poll = 0
    params.port = 0
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    _answer({"url": server.listening_address})
    sys.stdin.read()
    del server


def main() -> None:
    """Run as a child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    options = json.loads(sys.stdin.readline())
    try:
        serve(options)
    except ImportError:
        _answer({"error": "missing"})
    except RuntimeError:
        _answer({"error": "unreadable"})


def _answer(message: dict[str, str]) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201 - the protocol with the parent


if __name__ == "__main__":
    main()
