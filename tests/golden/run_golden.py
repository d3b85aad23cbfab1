#!/usr/bin/env python3
"""Golden tests of the command line.

Each tests/golden/*.t holds one or more cases:

    $ orrery ARGUMENTS            the command, run from the repository root
    ? CODE                        the expected exit code (0 when absent)
    > line                        expected line of standard output; "..." skips any number of lines
    ! line                        expected line of standard error

--update rewrites the expectations with what the command prints.
"""
import argparse
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def parse(text):
    cases, case = [], None
    for line in text.splitlines():
        if line.startswith("$ "):
            case = {"command": line[2:], "code": 0, "out": [], "err": []}
            cases.append(case)
        elif case and line.startswith("? "):
            case["code"] = int(line[2:])
        elif case and (line.startswith("> ") or line == ">"):
            case["out"].append(line[2:])
        elif case and (line.startswith("! ") or line == "!"):
            case["err"].append(line[2:])
    return cases


def matches(expected, actual):
    """Whether the lines agree; "..." stands for any number of lines."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return bool(actual) and expected[0] == actual[0] and matches(expected[1:], actual[1:])


def run(case, orrery):
    words = shlex.split(case["command"])
    assert words[0] == "orrery", words
    result = subprocess.run([orrery] + words[1:], cwd=ROOT, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=60, check=False)
    # Messages name files by absolute path; where the checkout lies is of no interest.
    out, err = (x.replace(f"{ROOT}/", "") for x in (result.stdout, result.stderr))
    return result.returncode, out.splitlines(), err.splitlines()


def render(case, code, out, err):
    lines = ["$ " + case["command"]]
    if code:
        lines.append(f"? {code}")
    keep = case["out"] if "..." in case["out"] and matches(case["out"], out) else out
    return "\n".join(lines + [("> " + x).rstrip() for x in keep] + [("! " + x).rstrip() for x in err])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--orrery", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    orrery = str(pathlib.Path(args.orrery).resolve())
    failed = total = 0
    for path in sorted(pathlib.Path(args.dir).glob("*.t")):
        rendered = []
        for case in parse(path.read_text()):
            total += 1
            code, out, err = run(case, orrery)
            rendered.append(render(case, code, out, err))
            strip = [[x.rstrip() for x in y] for y in (out, err)]
            if (code == case["code"] and matches(case["out"], strip[0])
                    and matches(case["err"], strip[1])):
                continue
            failed += 1
            print(f"{path.name}: differs: {case['command']}\n{rendered[-1]}\n")
        if args.update:
            path.write_text("\n\n".join(rendered) + "\n")
    print(f"golden: {total - failed} passed, {failed} failed")
    return 0 if args.update or failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
