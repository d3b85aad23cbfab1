#!/usr/bin/env python3
"""Golden tests of the command line.

Each tests/golden/*.t holds one or more cases:

    $ orrery ARGUMENTS            the command, run from the repository root
    ? CODE                        the expected exit code (0 when absent)
    > line                        expected line of standard output; "..." skips any number of lines
    ! line                        expected line of standard error
    % no-gpu                      the case is for machines without an NVIDIA GPU

@TMP in a command stands for a folder that all cases share and that is removed at the end.

<*> in an expected line stands for text that differs from run to run; the spaces of such a line may
then be more or fewer, since columns move.

--update rewrites the expectations with what the command prints.
"""
import argparse
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

MASK = "<*>"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def parse(text):
    cases, case = [], None
    for line in text.splitlines():
        if line.startswith("$ "):
            case = {"command": line[2:], "code": 0, "out": [], "err": [], "no_gpu": False}
            cases.append(case)
        elif case and line.startswith("? "):
            case["code"] = int(line[2:])
        elif case and line == "% no-gpu":
            case["no_gpu"] = True
        elif case and (line.startswith("> ") or line == ">"):
            case["out"].append(line[2:])
        elif case and (line.startswith("! ") or line == "!"):
            case["err"].append(line[2:])
    return cases


def matches_line(expected, actual):
    if MASK not in expected:
        return expected == actual
    parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in expected.split(MASK)]
    return re.fullmatch(".*".join(parts), actual) is not None


def matches(expected, actual):
    """Whether the lines agree; "..." stands for any number of lines."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return (bool(actual) and matches_line(expected[0], actual[0])
            and matches(expected[1:], actual[1:]))


def run(case, orrery, folder):
    words = shlex.split(case["command"].replace("@TMP", folder))
    assert words[0] == "orrery", words
    result = subprocess.run([orrery] + words[1:], cwd=ROOT, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=60, check=False)
    # Messages name files by absolute path; where the checkout lies is of no interest.
    out, err = (x.replace(f"{ROOT}/", "").replace(folder, "@TMP")
                for x in (result.stdout, result.stderr))
    return result.returncode, out.splitlines(), err.splitlines()


def render(case, code, out, err):
    lines = ["$ " + case["command"]]
    if case["no_gpu"]:
        lines.append("% no-gpu")
    if code:
        lines.append(f"? {code}")
    # What matches stays as it is written, with its wildcards.
    out, err = (case[key] if matches(case[key], [x.rstrip() for x in lines]) else lines
                for key, lines in (("out", out), ("err", err)))
    return "\n".join(lines + [("> " + x).rstrip() for x in out] + [("! " + x).rstrip() for x in err])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--orrery", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    orrery = str(pathlib.Path(args.orrery).resolve())
    failed = total = 0
    folder = tempfile.mkdtemp(prefix="orrery-golden-")
    for path in sorted(pathlib.Path(args.dir).glob("*.t")):
        rendered = []
        for case in parse(path.read_text()):
            if case["no_gpu"] and pathlib.Path("/dev/nvidiactl").exists():
                rendered.append(render(case, case["code"], case["out"], case["err"]))
                continue
            total += 1
            code, out, err = run(case, orrery, folder)
            rendered.append(render(case, code, out, err))
            strip = [[x.rstrip() for x in y] for y in (out, err)]
            if (code == case["code"] and matches(case["out"], strip[0])
                    and matches(case["err"], strip[1])):
                continue
            failed += 1
            print(f"{path.name}: differs: {case['command']}\n{rendered[-1]}\n")
        if args.update:
            path.write_text("\n\n".join(rendered) + "\n")
    shutil.rmtree(folder)
    print(f"golden: {total - failed} passed, {failed} failed")
    return 0 if args.update or failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
