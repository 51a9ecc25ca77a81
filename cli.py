"""The one command `david`: each room brings its own subcommands; what goes wrong comes out of one door."""

import errno
import io
import os
import signal
import sys
from contextlib import AbstractContextManager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from david import __version__
from david.pack.errors import DavidError, shown

if TYPE_CHECKING:
    import typer

INTERRUPTED = 128 + signal.SIGINT  # as shells count
ROOM = "make room there, then give the same command again"
RIGHTS = "change its rights, or name another"
NO_TEMPORARY = "No usable temporary directory"  # as Python's tempfile begins
ADVICE = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the machine's limit of open files",
    errno.ENOMEM: "take fewer workers, or a machine with more memory",
    errno.EIO: "the disk or its connection fails; see the system's log",
}


def command_line() -> "typer.Typer":
    """The command with all its subcommands. Imported here and not above: where that is interrupted, `main` says so."""
    import typer

    from david.bench.commands import register as register_bench
    from david.pack.commands import register as register_pack
    from david.pack.help import style
    from david.pipeline.info import register as register_info
    from david.train.commands import register as register_train

    app = typer.Typer(
        help="Train relative depth, surface normals and soft foreground of people.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    @app.callback()
    def david(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=tell_version, help="Show the version and exit.")
        ] = False,
    ) -> None: ...

    for register in (register_pack, register_info, register_train, register_bench):
        register(app)
    style(app)
    return app


def tell_version(asked: bool) -> None:
    """Also which Python, since both decide what runs."""
    if asked:
        print(f"david {__version__}, Python {sys.version.split()[0]}")
        sys.exit(0)


def __getattr__(name: str) -> Any:
    """`david.cli.app`, made when it is asked for."""
    if name == "app":
        return command_line()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Interrupts(AbstractContextManager):
    """Remembers that Ctrl-C came: a library that is being imported may turn it into an error of its own."""

    came = False

    def __enter__(self) -> "Interrupts":
        self._found = signal.getsignal(signal.SIGINT), sys.excepthook, sys.unraisablehook
        if self._found[0] is signal.default_int_handler:  # not where a parent said to ignore it
            signal.signal(signal.SIGINT, self._note)
        sys.excepthook = self._unless_it_came(sys.excepthook)
        sys.unraisablehook = self._unless_it_came(sys.unraisablehook)
        return self

    def __exit__(self, *error: object) -> None:
        handler, sys.excepthook, sys.unraisablehook = self._found
        signal.signal(signal.SIGINT, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def _unless_it_came(self, hook: Any) -> Any:
        """Libraries in C print what stopped their import by themselves."""
        return lambda *error: None if self.came else hook(*error)


def main() -> None:
    """Run the command line: what goes wrong outside of david is one sentence.

    Exit code 2: a mistake in what came from outside. 1: the system refused, as by a full disk. 75: a signal
    stopped a training, which is saved. 130: Ctrl-C.
    """
    # Threads of OpenMP (torch on a CPU) spin where they wait; on a machine that others use too, a step that waits for
    # a thread without a core then takes four times as long. Read when torch is loaded, and a user's own value stays.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths need not be text
    with Interrupts() as interrupts:
        code, told = 0, ""
        try:
            code = run()
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:  # whoever read the output has gone, as `head` does
            code = 1
        except Exception as error:
            if interrupts.came:
                code = INTERRUPTED
            elif isinstance(error, DavidError):
                code, told = error.exit_code, str(error)
            elif isinstance(error, OSError) and (told := of_the_system(error)):
                code = 1
            else:
                from david.train.signals import EXIT_STOPPED, Stopped

                if not isinstance(error, Stopped):  # a training in a command of another name, such as quickstart
                    raise
                code, told = EXIT_STOPPED, str(error)
        if interrupts.came and code == INTERRUPTED:
            told = "interrupted"
        if told:
            say(told)
        sys.exit(code)


def run() -> Any:
    """Run the command and return its exit code, with all of its output handed on."""
    code = 0
    try:
        command_line()()
    except SystemExit as end:  # typer ends so always, also well
        code = end.code
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        raise
    return code


def of_the_system(error: OSError) -> str:
    """What the operating system refused, in one sentence; empty for an error that is rather our own mistake."""
    if error.errno == errno.ENOENT and str(error.strerror).startswith(NO_TEMPORARY):
        return f"{error.strerror}; set TMPDIR to a folder that can be written"
    paths = [os.fsdecode(p) for p in (error.filename, error.filename2) if isinstance(p, str | bytes | os.PathLike)]
    if not paths and error.errno not in ADVICE:
        return ""
    reason = error.strerror or str(error)
    told = f"{' -> '.join(paths)}: {reason}" if paths else reason
    return f"{told}; {ADVICE[error.errno]}" if error.errno in ADVICE else told


def say(sentence: str) -> None:
    """A sentence on the standard error stream; names from outside move no cursor."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]david:[/] {escape(shown(sentence))}", emoji=False, highlight=False
    )


if __name__ == "__main__":
    main()
