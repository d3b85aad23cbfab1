#!/usr/bin/env python3
"""Trains both models by turns with transformers and with Orrery on one GPU, and times a layer of
DeepSeek-V3 on one rank of 64.

Usage: measure.py ORRERY OUT [--rounds N] [--steps N] [--models wide,small] [--eager] [--layer]

OUT gets results.json, and of the last round MODEL_PRECISION.trace.json.gz for `orrery compare`.
A step is the median without the first three (graphs are captured, kernels compiled) and, of Orrery,
the last, which is traced. Idle: what of the traced step no op fills, an upper bound for the others,
which have no timing events between ops.
"""

import argparse
import gzip
import json
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WARM_UP = 3
# torch.compile makes the wide model slower (its products are large, its kernels few).
COMPILED = {"wide": False, "small": True}
BARS = {"bf16": 1.1, "fp8": 1.5}
LAYER_BAR_MS = 26
COMMUNICATION = {"notify", "dispatch", "combine", "all_reduce", "reduce_scatter", "all_gather"}


def read(name, file):
    return json.loads((HERE / name / file).read_text())


def write_tokens(path, vocab, count):
    """By Zipf's law, in the format of runtime/io/token_file.h."""
    rng = random.Random(1234)
    weights = [1 / (rank + 10) for rank in range(vocab)]
    tokens = rng.choices(rng.sample(range(vocab), vocab), weights=weights, k=count)
    header = struct.pack("<8sIIQI36x", b"ORRTOKEN", 1, 4, count, vocab)
    path.write_bytes(header + struct.pack(f"<{count}I", *tokens))


def run(command):
    began = time.monotonic()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    print(f"{time.monotonic() - began:6.1f} s  {' '.join(str(c) for c in command)}", file=sys.stderr,
          flush=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:] or f"exit {done.returncode}")
    return done.stdout


def transformers_run(name, tokens, plan, steps, eager):
    command = [sys.executable, HERE / "transformers_steps.py", HERE / name / "config.json", tokens,
               plan["global_batch"], plan["sequence_length"], steps]
    if COMPILED[name] and not eager:
        command.append("--compile")
    return json.loads(run(command).splitlines()[-1])


def orrery_run(orrery, name, precision, tokens, steps, out):
    data = json.dumps(dict(kind="tokens", path=str(tokens)))
    run([orrery, "run", HERE / name, "--quiet", "--steps", steps, "--out", out,
         "--set", f"/plan/precision={precision}", "--set", f"/training/data={data}"])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return dict(steps=lines)


def step_s(steps, traced):
    return statistics.median(s["step_time_s"] for s in steps[WARM_UP:len(steps) - traced])


def busy_ms(ops):
    """Union of the ops' times over all streams."""
    total, end = 0.0, float("-inf")
    for o in sorted(ops, key=lambda o: o["start_us"]):
        total += max(0.0, o["end_us"] - max(end, o["start_us"]))
        end = max(end, o["end_us"])
    return total / 1e3


def idle_fraction(ops):
    window_ms = (max(o["end_us"] for o in ops) - min(o["start_us"] for o in ops)) / 1e3
    return 1 - busy_ms(ops) / window_ms


def layer_run(orrery, folder, out):
    """Compute of a layer, forward and backward: the mean over the layers of the traced step."""
    run([orrery, "run", HERE / "v3_layer", "--fake-process-group", "--quiet", "--out", folder])
    trace = (folder / "trace.json").read_bytes()
    (out / "v3_layer.trace.json.gz").write_bytes(gzip.compress(trace, mtime=0))
    ops = [o for o in json.loads(trace)["ops"] if o["kind"] not in COMMUNICATION]
    layers = {}
    for o in ops:
        if o["name"].startswith("layer "):
            layers.setdefault(o["name"].split()[1], []).append(o)
    of_layers = [busy_ms(of_layer) for of_layer in layers.values()]
    kinds = {}
    for of_layer in layers.values():
        for o in of_layer:
            kinds[o["kind"]] = kinds.get(o["kind"], 0) + (o["end_us"] - o["start_us"]) / 1e3
    return dict(compute_ms=round(statistics.mean(of_layers), 2), bar_ms=LAYER_BAR_MS,
                of_each_ms=[round(ms, 2) for ms in of_layers],
                by_kind_ms={k: round(ms / len(layers), 3)
                            for k, ms in sorted(kinds.items(), key=lambda x: -x[1])})


def machine():
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    out = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
                         capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return dict(zip(fields.split(","), out.split(", ")))


def measure_model(a, name, folder):
    plan, config = read(name, "plan.json"), read(name, "config.json")
    per_step = plan["global_batch"] * plan["sequence_length"]
    tokens = folder / f"{name}.bin"
    write_tokens(tokens, config["vocab_size"], a.steps * per_step + 1)
    runs = {"transformers": [], "bf16": [], "fp8": []}
    peak, idle = {}, {}
    for _ in range(a.rounds):
        theirs = transformers_run(name, tokens, plan, a.steps, a.eager)
        runs["transformers"].append(theirs["steps"])
        peak["transformers"] = theirs["peak_GiB"]
        for precision in ("bf16", "fp8"):
            out = folder / f"{name}_{precision}_{len(runs[precision])}"
            ours = orrery_run(a.orrery, name, precision, tokens, a.steps, out)
            runs[precision].append(ours["steps"])
            peak[precision] = ours["steps"][-2]["memory_GiB"]
            trace = (out / "trace.json").read_bytes()
            (a.out / f"{name}_{precision}.trace.json.gz").write_bytes(gzip.compress(trace, mtime=0))
            idle[precision] = idle_fraction(json.loads(trace)["ops"])
    rows = {}
    for who, rounds in runs.items():
        seconds = [step_s(steps, who != "transformers") for steps in rounds]
        rows[who] = dict(step_ms=[round(1e3 * s, 2) for s in seconds], peak_GiB=round(peak[who], 1),
                         tokens_per_s=round(per_step / statistics.median(seconds)),
                         losses=[round(s["loss"], 4) for s in rounds[-1]])
    for precision, bar in BARS.items():
        rows[precision]["idle_fraction"] = round(idle[precision], 4)
        rows[precision]["speedup"] = round(
            rows[precision]["tokens_per_s"] / rows["transformers"]["tokens_per_s"], 3)
        rows[precision]["bar"] = bar
    return dict(compiled=COMPILED[name] and not a.eager, parameters=theirs["parameters"], rows=rows,
                versions=dict(torch=theirs["torch"], transformers=theirs["transformers"]))


def write(a, results):
    text = json.dumps(results, indent=1) + "\n"
    (a.out / "results.json").write_text(text)
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("orrery")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--models", default="wide,small")
    parser.add_argument("--layer", action="store_true", help="the layer of DeepSeek-V3 alone")
    parser.add_argument("--eager", action="store_true", help="transformers without torch.compile")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    results = dict(machine=machine(), date=time.strftime("%Y-%m-%d"), rounds=a.rounds, steps=a.steps,
                   models={})
    with tempfile.TemporaryDirectory() as folder:
        for name in [] if a.layer else a.models.split(","):
            results["models"][name] = measure_model(a, name, Path(folder))
            write(a, results)
        results["v3_layer"] = layer_run(a.orrery, Path(folder) / "v3_layer", a.out)
    print(write(a, results))


if __name__ == "__main__":
    main()
