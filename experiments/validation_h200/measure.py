#!/usr/bin/env python3
"""Runs the cases on the GPUs at hand and keeps traces and metrics.

Usage: measure.py ORRERY FOLDER [NAME ...]   FOLDER gets NAME.trace.json.gz, NAME.metrics.jsonl, machine.json

Cases of one rank run one after another on the first GPU, the one that `orrery calibrate` measures; those
that share a GPU run beside them on the last; the others one after another when these are done. A case whose
GPUs are missing is left out and named.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cases import CASES

HERE = Path(__file__).resolve().parent
STEPS = 8  # the median leaves out the first three and the last, which is traced
LIMIT_S = 100


def command_of(orrery, name, base, ranks, sets, out):
    command = [orrery, "run", str(HERE / base), "--steps", str(STEPS), "--out", out, "--quiet"]
    if ranks > 1:
        command += ["--ranks", str(ranks)]
        if "_shared_" in base:
            command += ["--ranks-per-gpu", str(ranks)]
    for s in sets:
        command += ["--set", s]
    return command


def gpus_of(case):
    _, base, ranks, _ = case
    return 1 if "_shared_" in base else ranks


def measure(orrery, folder, gpus, name, base, ranks, sets):
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES=",".join(gpus))
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        try:
            done = subprocess.run(command_of(orrery, name, base, ranks, sets, out), capture_output=True,
                                  text=True, timeout=LIMIT_S, env=environment)
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


def all_gpus():
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    out = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
                         capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return [dict(zip(fields.split(","), line.split(", "))) for line in out]


def work(orrery, folder, gpu, cases):
    for case in cases:
        measure(orrery, folder, [gpu], *case)


def main():
    orrery, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [c for c in CASES if not sys.argv[3:] or c[0] in sys.argv[3:]]
    machine = all_gpus()
    (folder / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    gpus = [str(g) for g in range(len(machine))]
    single = [c for c in wanted if c[2] == 1]
    shared = [c for c in wanted if c[2] > 1 and gpus_of(c) == 1]
    if len(gpus) == 1:
        work(orrery, folder, gpus[0], single + shared)
    else:
        beside = threading.Thread(target=work, args=(orrery, folder, gpus[-1], shared))
        beside.start()
        work(orrery, folder, gpus[0], single)
        beside.join()
    for case in (c for c in wanted if gpus_of(c) > 1):
        if gpus_of(case) > len(gpus):
            print(f"{case[0]}: needs {gpus_of(case)} GPUs")
            continue
        measure(orrery, folder, gpus[:gpus_of(case)], *case)


if __name__ == "__main__":
    main()
