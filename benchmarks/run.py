"""
Run all benchmarks one after the other: `make bench`, or `make bench ARGS=--quick` to see whether they work.

Only figures from an idle machine are worth keeping; `--record` keeps them in benchmarks/results/.

    python benchmarks/run.py [--quick] [--record] [--only overhead start …]
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICK = {
    "overhead": ["--rounds", "5"],
    "browser_stream": ["--rounds", "1", "--tokens", "400"],
    "start": ["--rounds", "1"],
    "ttft": ["--questions", "3"],
    "memory": ["--questions", "6", "--every", "3"],
    "retrieval": ["--chunks", "5000"],
    "library": ["--files", "500"],
}


def main() -> int:
    """Run from the command line; exit status 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: about two minutes; not worth keeping")
    parser.add_argument("--record", action="store_true", help="keep the results in benchmarks/results/")
    parser.add_argument("--only", nargs="+", choices=QUICK, default=list(QUICK), help="some of them")
    options = parser.parse_args()
    failed = []
    for name in options.only:
        extra = QUICK[name] if options.quick else []
        if options.record:
            extra = [*extra, "--out", f"benchmarks/results/{datetime.date.today().isoformat()}-{name}.json"]
        print(f"\n== {name} {' '.join(extra)}".rstrip(), flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *extra], cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
