"""Fuzz one of david's parsers: `python tests/fuzz/fuzz.py zip --seconds 300` (needs david's extra `fuzz`).

What is found lies in `tests/fuzz/cases/TARGET/`, where the test suite replays it from then on.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["david"]):
    import targets

from david.pack.errors import DavidError

CASES = Path(__file__).parent / "cases"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="david-corpus-") as corpus:
        if (child := os.fork()) == 0:  # libFuzzer ends its process without a chance to clean up
            fuzz(arguments.target, arguments.seconds, Path(corpus))
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    target = targets.TARGETS[name]

    def one(data: bytes) -> None:
        with contextlib.suppress(DavidError):
            target(data)

    for number, seed in enumerate(targets.SEEDS[name]()):
        (corpus / f"seed-{number}").write_bytes(seed)
    cases = CASES / name
    cases.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-max_len=8192",
        "-keep_seed=1",
    ]
    quiet = ["-close_fd_mask=3", "-print_final_stats=1"]  # the decoders' own complaints
    atheris.Setup([sys.argv[0], *limits, *quiet, f"-artifact_prefix={cases}/", str(corpus), str(cases)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
