"""Soaks: what the suite does a few times, at length, with kills, flipped bits and starters at random moments.

    python tests/soak [NAME ...] [--rounds N]

Runs all of them, one after the other, or those that are named. Each says what was done and held, or ends with an error;
then the exit code is 1. All together take hours: the files beside this one say what each does.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOAKS = {
    "pack-kills": ["pack.py", "kills"],
    "pack-flips": ["pack.py", "flips"],
    "pack-starters": ["pack.py", "starters"],
    "pack-processes": ["pack.py", "processes"],
    "ray-nodes": ["ray_nodes.py"],
    "downloads": ["fetch.py", "downloads"],
    "caches": ["fetch.py", "caches"],
    "train-starters": ["train_starters.py"],
    "train-kills": ["train_kills.py"],
    "tune": ["tune.py"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SOAKS)}")
    parser.add_argument("--rounds", type=int, help="of each; without, as many as it says in its file")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(SOAKS):
        parser.error(f"no soak is called {', '.join(sorted(unknown))}; there are {', '.join(SOAKS)}")
    failed = []
    for name in asked.names or SOAKS:
        print(f"{name}:", flush=True)
        script, *words = SOAKS[name]
        rounds = [str(asked.rounds)] if asked.rounds else []
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE.parent), os.environ.get("PYTHONPATH", "")))}
        command = [sys.executable, str(HERE / script), *words, *rounds]
        if subprocess.run(command, env=environment).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
