"""A file that is closed when nobody holds it any more, so never under a thread that reads it."""

import os


class Opened:
    """handle: of the open file, which this owns"""

    def __init__(self, handle: int):
        self.handle = handle

    def __del__(self) -> None:
        os.close(self.handle)
