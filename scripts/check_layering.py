#!/usr/bin/env python3
"""Checks that #include lines keep to the layers of the source tree.

Usage: check_layering.py [ROOT]     checks the tree; prints file:line and the broken rule, exit code 1
       check_layering.py --self-test  checks the checker on small trees that break each rule
"""

import re
import sys
import tempfile
from pathlib import Path

BASE = {"base"}
SPEC = BASE | {"spec"}
GRAPH = SPEC | {"graph"}
SCHEDULE = GRAPH | {"schedule"}
MODELS = {"cost", "net", "memory", "des"}
EXEC = SCHEDULE | MODELS | {"exec"}

# Folder of sim/ -> folders of sim/ that it may include, besides itself.
SIM_LAYERS = {
    "base": set(),
    "des": BASE,
    "spec": BASE,
    "import": GRAPH,
    "cost": SPEC,
    "net": SPEC,
    "memory": SPEC,
    "graph": SPEC,
    "schedule": GRAPH,
    "exec": SCHEDULE,
    "study": EXEC | {"import"},
    "calibrate": SPEC | {"cost", "net", "import"},
    "report": EXEC | {"study", "calibrate", "import"},
    "cli": EXEC | {"import", "study", "calibrate", "report"},
}
# The one part of exec that knows the models; its files are sim/exec/sim_*.
SIM_BACKEND = re.compile(r"sim/exec/sim_[^/]*$")
RUNTIME_MAY_USE_SIM = SCHEDULE | {"exec"}

SOURCE_SUFFIXES = {".h", ".cpp", ".cuh", ".cu"}
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def layer_of(path):
    """`sim/<folder>` for the simulator, the top folder for everything else."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "sim" and len(parts) > 2 else parts[0]


def allowed_layers(path):
    """The layers that the file `path` may include, and the rule in words."""
    layer = layer_of(path)
    if layer == "kernels":
        return {"kernels"}, "kernels may include kernels only"
    if layer == "runtime":
        may_use = {f"sim/{name}" for name in RUNTIME_MAY_USE_SIM}
        names = ", ".join(sorted(RUNTIME_MAY_USE_SIM))
        return may_use | {"runtime", "kernels"}, f"runtime may include kernels and sim/{{{names}}}"
    name = layer.removeprefix("sim/")
    may_use = set(SIM_LAYERS[name])
    if SIM_BACKEND.search(path):
        may_use |= MODELS
    listed = ", ".join(sorted(may_use)) or "nothing else"
    allowed = {f"sim/{other}" for other in may_use} | {layer}
    if name == "cli":
        # The factory through which the command line reaches the runtime.
        allowed.add("runtime")
    return allowed, f"sim/{name} may include {listed}"


def read_includes(root):
    """{file: [(line number, included path)]} for all sources, both relative to `root`."""
    includes = {}
    for top in ("sim", "runtime", "kernels"):
        for source in sorted((root / top).rglob("*")):
            if source.suffix not in SOURCE_SUFFIXES:
                continue
            lines = source.read_text(encoding="utf-8").splitlines()
            found = [(number, INCLUDE.match(line)) for number, line in enumerate(lines, 1)]
            includes[source.relative_to(root).as_posix()] = [
                (number, match.group(1)) for number, match in found if match
            ]
    return includes


def check_rules(includes):
    for path, lines in includes.items():
        layer = layer_of(path)
        if layer.startswith("sim") and layer.removeprefix("sim/") not in SIM_LAYERS:
            yield f"{path}:1: no layer is defined for {layer}; add it to {Path(__file__).name}"
            continue
        allowed, rule = allowed_layers(path)
        for number, target in lines:
            if target not in includes:
                yield f'{path}:{number}: "{target}" is no file; write includes from the root'
            elif layer_of(target) not in allowed:
                yield f'{path}:{number}: includes "{target}", but {rule}'


def check_runtime_closure(includes):
    """The runtime must not get the models through a header of exec either."""
    for path, lines in includes.items():
        if layer_of(path) != "runtime":
            continue
        for number, target in lines:
            reached = [target]
            seen = {target}
            while reached:
                current = reached.pop()
                if layer_of(current).removeprefix("sim/") in MODELS and current != target:
                    yield f'{path}:{number}: "{target}" leads to "{current}", which runtime may not use'
                for _, following in includes.get(current, []):
                    if following not in seen:
                        seen.add(following)
                        reached.append(following)


def check_cycles(includes):
    """Headers that include each other in a circle, each circle once."""
    done = set()
    for start in includes:
        if start in done:
            continue
        trail = [(start, iter(includes[start]))]
        on_trail = {start}
        while trail:
            path, rest = trail[-1]
            number, target = next(rest, (0, None))
            if target is None:
                trail.pop()
                on_trail.discard(path)
                done.add(path)
            elif target in on_trail:
                yield f'{path}:{number}: including "{target}" closes a circle of includes'
            elif target in includes and target not in done:
                on_trail.add(target)
                trail.append((target, iter(includes[target])))


def check_tree(root):
    includes = read_includes(root)
    problems = [
        *check_rules(includes),
        *check_runtime_closure(includes),
        *check_cycles(includes),
    ]
    return sorted(problems), len(includes)


def self_test():
    cases = [
        ({"sim/spec/a.h": '#include "sim/base/b.h"', "sim/base/b.h": ""}, None),
        ({"sim/base/a.h": '\n#include "sim/spec/b.h"', "sim/spec/b.h": ""},
         'sim/base/a.h:2: includes "sim/spec/b.h", but sim/base may include nothing else'),
        ({"sim/exec/driver.h": '#include "sim/net/b.h"', "sim/net/b.h": ""},
         "sim/exec may include base, graph, schedule, spec"),
        ({"sim/exec/sim_backend.h": '#include "sim/net/b.h"', "sim/net/b.h": ""}, None),
        ({"kernels/a.cu": '#include "sim/base/b.h"', "sim/base/b.h": ""}, "kernels only"),
        ({"runtime/a.cpp": '#include "sim/cost/b.h"', "sim/cost/b.h": ""}, "runtime may include"),
        ({"runtime/a.cpp": '#include "sim/exec/sim_backend.h"',
          "sim/exec/sim_backend.h": '#include "sim/net/b.h"', "sim/net/b.h": ""}, "leads to"),
        ({"sim/cli/a.cpp": '#include "runtime/b.h"', "runtime/b.h": ""}, None),
        ({"sim/base/a.h": '#include "sim/base/b.h"', "sim/base/b.h": '#include "sim/base/a.h"'},
         "sim/base/b.h:1: including"),
        ({"sim/base/a.h": '#include "b.h"', "sim/base/b.h": ""}, "from the root"),
        ({"sim/novel/a.h": ""}, "no layer is defined for sim/novel"),
    ]
    for files, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text + "\n", encoding="utf-8")
            problems, _ = check_tree(Path(folder))
        if expected is None:
            assert not problems, (files, problems)
        else:
            assert len(problems) == 1 and expected in problems[0], (files, problems)
    for name, may_use in SIM_LAYERS.items():
        for other in may_use:
            assert name not in SIM_LAYERS[other], f"{name} and {other} may include each other"
    print(f"{len(cases)} cases as expected")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    problems, count = check_tree(root)
    for problem in problems:
        print(problem)
    print(f"{count} files, {len(problems)} broken rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
