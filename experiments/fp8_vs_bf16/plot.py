#!/usr/bin/env python3
"""Writes curves.csv and curves.svg from the metrics of the two runs.

Usage: plot.py BF16/metrics.jsonl FP8/metrics.jsonl
"""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 60, 40, 20
ENTROPY = math.log(32)  # of the synthetic language: 32 equally likely successors
COLOURS = {"BF16": "#0072b2", "FP8": "#d55e00"}  # apart for colour-blind readers too


def losses(path):
    return [json.loads(line)["loss"] for line in Path(path).read_text().splitlines()]


def main():
    runs = {"BF16": losses(sys.argv[1]), "FP8": losses(sys.argv[2])}
    steps = len(runs["BF16"])
    assert len(runs["FP8"]) == steps
    here = Path(__file__).parent
    rows = ["step,bf16_loss_nats,fp8_loss_nats"]
    rows += [f"{i + 1},{a:.6f},{b:.6f}" for i, (a, b) in enumerate(zip(*runs.values()))]
    (here / "curves.csv").write_text("\n".join(rows) + "\n")

    high, low = max(map(max, runs.values())), ENTROPY - 0.2

    def x(step):
        return LEFT + (WIDTH - LEFT - 20) * step / steps

    def y(loss):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for loss in range(math.ceil(low), math.floor(high) + 1):
        parts.append(f'<path d="M{LEFT} {y(loss):.1f}H{WIDTH - 20}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss}</text>')
    for step in range(0, steps + 1, 100):
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{step}</text>')
    parts.append(f'<path d="M{LEFT} {y(ENTROPY):.1f}H{WIDTH - 20}" stroke="#666" '
                 f'stroke-dasharray="4 4"/><text x="{WIDTH - 24}" y="{y(ENTROPY) + 14:.1f}" '
                 f'text-anchor="end" fill="#666">entropy of the data, {ENTROPY:.4f}</text>')
    for i, (name, values) in enumerate(runs.items()):
        points = " ".join(f"{x(s + 1):.1f},{y(v):.1f}" for s, v in enumerate(values))
        dash = ' stroke-dasharray="6 4"' if i else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" '
                     f'stroke-width="1.6"{dash}/><text x="{WIDTH - 90}" y="{TOP + 20 + 18 * i}" '
                     f'fill="{COLOURS[name]}">{name}: {values[-1]:.4f}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>'
                 f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" '
                 'text-anchor="middle">loss, nats per token</text></svg>')
    (here / "curves.svg").write_text("\n".join(parts) + "\n")
    last = {name: sum(v[-20:]) / 20 for name, v in runs.items()}
    print(f"last 20 steps: BF16 {last['BF16']:.5f}, FP8 {last['FP8']:.5f}, "
          f"relative difference {(last['FP8'] - last['BF16']) / last['BF16']:+.4%}")


if __name__ == "__main__":
    main()
