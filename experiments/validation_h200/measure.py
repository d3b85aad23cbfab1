#!/usr/bin/env python3
"""Runs every case on this machine's GPU and keeps its trace and metrics.

Usage: measure.py ORRERY FOLDER [NAME ...]   FOLDER gets NAME.trace.json.gz and NAME.metrics.jsonl
"""

import gzip
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import CASES

HERE = Path(__file__).resolve().parent
STEPS = 6
LIMIT_S = 90


def measure(orrery, folder, name, base, ranks, sets):
    with tempfile.TemporaryDirectory() as out:
        command = [orrery, "run", str(HERE / base), "--steps", str(STEPS), "--out", out, "--quiet"]
        if ranks > 1:
            command += ["--ranks", str(ranks), "--ranks-per-gpu", str(ranks)]
        for s in sets:
            command += ["--set", s]
        began = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            print(f"{name}: no end within {LIMIT_S} s", flush=True)
            return
        print(f"{name}: exit {done.returncode}, {time.monotonic() - began:.1f} s "
              f"{done.stderr.strip()[-300:]}", flush=True)
        if done.returncode:
            return
        trace = (Path(out) / "trace.json").read_bytes()
        (folder / f"{name}.trace.json.gz").write_bytes(gzip.compress(trace, mtime=0))
        (folder / f"{name}.metrics.jsonl").write_bytes((Path(out) / "metrics.jsonl").read_bytes())


def main():
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[3:]
    for case in CASES:
        if not wanted or case[0] in wanted:
            measure(sys.argv[1], folder, *case)


if __name__ == "__main__":
    main()
