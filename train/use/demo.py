"""`david demo`: a page on this machine where a network is tried on pictures."""

import importlib.util
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from david.pack.errors import DavidError
from david.pack.options import Device
from david.train.use import load

HOST, FIRST_PORT, PORTS = "127.0.0.1", 7860, 100
INSTALL = 'pip install -c constraints.txt -e ".[demo]"'


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A run, a checkpoint, a file of weights or a hub's name; repeatable."),
    ] = None,
    onnx: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="An ONNX file; repeatable, for different outputs.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.", show_default="first free from 7860"),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Address to listen on; 0.0.0.0 lets your whole network in.")
    ] = HOST,
    share: Annotated[
        bool, typer.Option("--share", help="Open a public address for it, through Gradio's servers.")
    ] = False,
    most_megapixels: Annotated[
        float, typer.Option("--max-megapixels", metavar="N", min=0.01, help="Refuse larger pictures.")
    ] = 25.0,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Compute our weights in auto, fp32, bf16 or fp16.")
    ] = "auto",
    device: Device = "auto",
) -> None:
    """Try a network on your pictures, on a page in your browser.

    Drop a picture or take one with the webcam, slide between it and each output, turn its points, download the results.
    The page is for this machine alone unless --host or --share says otherwise, and asks nothing of any other. Ctrl-C
    ends it, and removes what was uploaded and made.
    """
    places = load.all_found(weights or [], onnx or [])
    if not places:
        raise typer.BadParameter("name a network", param_hint="--weights / --onnx")
    if importlib.util.find_spec("gradio") is None:
        raise DavidError(f"the demo's page needs Gradio, which is not installed: {INSTALL}")
    port = free(host, [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS))
    predictor = load.loaded(places, device, precision)  # torch: seconds, that no refusal waits for
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="david-demo-", ignore_cleanup_errors=True) as folder:
        serve(predictor, Path(folder), host, port, share, most_megapixels)


def serve(predictor: Any, folder: Path, host: str, port: int, share: bool, most_megapixels: float) -> None:
    """Until Ctrl-C or SIGTERM; all files under `folder`."""
    settle(folder)
    from david.train.use.demo_page import served
    from david.train.use.desk import Desk

    console = Console()
    try:
        with served(Desk(predictor, folder / "results", most_megapixels), host, port, share) as (local, shared):
            console.print(f"{local}  open it in a browser; Ctrl-C ends it", soft_wrap=True, highlight=False)
            if shared:
                console.print(f"{shared}  the same for anybody who has this address", soft_wrap=True, highlight=False)
            threading.Event().wait()
    except KeyboardInterrupt:
        console.print("ended; what was uploaded and made is removed", highlight=False)


def free(host: str, ports: Any) -> int:
    """The first of these ports that can be listened on. Raises DavidError where none can, or `host` is none here."""
    refused: OSError | None = None
    for port in ports:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(address)
            return port
        except socket.gaierror as error:
            raise DavidError(f"--host {host}: no address of this machine ({error.strerror})") from error
        except OSError as error:
            refused = error
    name = f"--port {ports[0]}" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]}"
    reason = os.strerror(refused.errno or 0) if refused else "none"
    raise DavidError(f"{name}: can't be listened on at {host} ({reason}); name another with --port")


def settle(folder: Path) -> None:
    """Before gradio is imported: no telemetry of its and of the hub's client, its files under `folder`, and no proxy
    between a server and its own machine. It reads these from the environment alone."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    for name in ("no_proxy", "NO_PROXY"):
        there = os.environ.get(name, "")
        os.environ[name] = ",".join(filter(None, [there, "127.0.0.1", "localhost", "0.0.0.0"]))


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
