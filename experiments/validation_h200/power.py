#!/usr/bin/env python3
"""Samples clock and power of every GPU while each runs one case: power.py ORRERY OUT.json NAME [NAME ...]"""

import json
import subprocess
import sys
import tempfile
import threading
import time

from cases import CASES
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS = 40


def run(orrery, gpu, case, result):
    name, base, _, sets = case
    fields = "clocks.sm,power.draw.instant,power.draw.average,temperature.gpu"
    with tempfile.TemporaryDirectory() as out:
        command = [orrery, "run", str(HERE / base), "--steps", str(STEPS), "--out", out, "--quiet"]
        for s in sets:
            command += ["--set", s]
        sampler = subprocess.Popen(["nvidia-smi", "-i", gpu, f"--query-gpu={fields}", "--format=csv,noheader,nounits",
                                    "-lms", "20"], stdout=subprocess.PIPE, text=True)
        samples = []

        def read():
            for line in sampler.stdout:
                samples.append([time.time(), *line.strip().split(", ")])

        reader = threading.Thread(target=read)
        reader.start()
        done = subprocess.run(command, capture_output=True, text=True, timeout=90,
                              env={**__import__("os").environ, "CUDA_VISIBLE_DEVICES": gpu})
        sampler.terminate()
        reader.join()
        lines = (Path(out) / "metrics.jsonl").read_text().splitlines() if done.returncode == 0 else []
        result.append({"case": name, "gpu": gpu, "stderr": done.stderr[-300:], "fields": ["time", *fields.split(",")],
                       "steps_ms": [round(1000 * json.loads(l)["step_time_s"], 2) for l in lines],
                       "samples": samples[-400:]})


def main():
    by_name = {c[0]: c for c in CASES}
    result = []
    threads = [threading.Thread(target=run, args=(sys.argv[1], str(g), by_name[n], result))
               for g, n in enumerate(sys.argv[3:])]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with open(sys.argv[2], "w") as f:
        json.dump(result, f)
    for r in result:
        print(r["case"], r["stderr"], r["steps_ms"])


main()
