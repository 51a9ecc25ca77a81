"""What stands in for checks of `david doctor`, which run in a process of their own: they fail in every way there is."""

import os
import signal
import threading

from david.bench.doctor.check import Asked, Check, Said


def fine(asked: Asked) -> Said:
    return Said(f"looked at {asked.disk}")


def noted(asked: Asked) -> Said:
    return Said("slow", "buy another")


def broken(asked: Asked) -> Said:
    return Said("wrong", "mend it", ok=False)


def raises(asked: Asked) -> Said:
    raise RuntimeError("first line\nsecond line")


def chatters(asked: Asked) -> Said:
    os.write(1, b'["said", ["not", true, "this", ""]]\n')
    print("nor this")
    return Said("quiet")


def hangs(asked: Asked) -> Said:
    threading.Event().wait()
    raise AssertionError


def dies(asked: Asked) -> Said:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def leaves(asked: Asked) -> Said:
    os.write(2, b"libbroken.so: undefined symbol\n")
    os._exit(3)


def table(*looks: str, limit_s: float = 60.0, **limits: float) -> dict[str, Check]:
    return {
        look: Check(f"stand_in_checks:{look}", f"advice of {look}", limits.get(f"{look}_s", limit_s)) for look in looks
    }


CHECKS = table("fine", "broken", "raises", "chatters", "dies", "leaves", "hangs", "noted", hangs_s=0.5)
WELL = table("fine", "noted")
WAITS = table("fine", "hangs")
