"""A Ray cluster to spread work over: the one that runs, or a local one where none does.

Its machines share the file system, and david is installed on each.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from david.pack.errors import DavidError

INSTALL = 'pip install -c constraints.txt -e ".[ray]"'


@contextmanager
def joined(cores: int) -> Iterator[Any]:
    """The module `ray`, connected meanwhile; what is begun here ends here. cores: of a local one.

    Raises DavidError where Ray is not installed."""
    try:
        import ray
    except ImportError as error:
        raise DavidError(f"--engine ray needs ray, which is not installed: {INSTALL}") from error
    begun_here = not ray.is_initialized()
    if begun_here:
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)  # Ray's own would end this process where it stands
    try:
        yield ray
    finally:
        if begun_here:
            ray.shutdown()
