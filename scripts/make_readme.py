#!/usr/bin/env python3
"""Writes the generated parts of README.md (real output and accuracy table) between their markers.
Usage: make_readme.py BUILD/orrery"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def orrery(*args):
    return subprocess.run([sys.argv[1], *args], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout


def replace(text, name, body):
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    head, rest = text.split(begin)
    return head + begin + body + end + rest.split(end, 1)[1]


def number(v):
    return f"{v:,.0f}" if v >= 1e5 else f"{v:.4g}"


def validation():
    """The summary and the coverage of the intervals, and every case folded away below them."""
    summary, cases = orrery("validate", "--markdown", "--quiet").rsplit("\n\n", 1)
    return (summary + "\n\n<details><summary>Every case</summary>\n\n" + cases +
            "\n</details>\n")


def accuracy():
    p = json.loads(orrery("predict", "experiments/deepseek_v3", "--json"))
    rows = ["| figure | predicted | published | error | published in |", "|---|---|---|---|---|"]
    for v in p["published"]:
        rows.append(f"| {v['name']} | {number(v['predicted'])} | {number(v['published'])} | "
                    f"{100 * v['error_fraction']:+.1f} % | {v['reference']} |")
    c = json.loads(orrery("compare", "experiments/deepseek_v3",
                          "experiments/deepseek_v3/profile/train.json", "--json"))
    for r in [c["pair"]] + c["classes"]:
        name = "pair of 4 MoE layers, ms" if r["name"] == "pair" else f"pair: {r['name']}, ms"
        rows.append(f"| {name} | {r['predicted_us'] / 1000:.2f} | {r['measured_us'] / 1000:.2f} | "
                    f"{100 * r['error_fraction']:+.1f} % | deepseek-ai/profile-data train.json |")
    return "\n".join(rows) + "\n"


def main():
    path = ROOT / "README.md"
    text = path.read_text()
    text = replace(text, "output", "```\n" + orrery("predict", "experiments/deepseek_v3") + "```\n")
    text = replace(text, "validation", validation())
    text = replace(text, "accuracy", accuracy())
    path.write_text(text)


if __name__ == "__main__":
    main()
