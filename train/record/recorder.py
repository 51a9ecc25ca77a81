"""What a run writes down of its steps: journal, ledger, writers and the display, in one pass every few steps.

Between two flushes nothing is asked of the device but whether the step before was finite, see `bundle.Watch`. At a
flush all that there is to write down of those steps, of all ranks, is sent to the host in one piece; where that takes
its time it is read a step later, while the device computes the next.

B samples of this rank, S steps of a flush, T terms of the loss.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from david.pack.errors import DavidError
from david.pipeline import trace
from david.pipeline.batch import Batch
from david.train import ledger
from david.train import recipe as recipes
from david.train.distributed import World
from david.train.journal import Journal, Mark
from david.train.metrics.best import best_step
from david.train.recipe import Recipe
from david.train.record import memory
from david.train.record.bundle import Watch
from david.train.record.display import Display
from david.train.record.post import Post
from david.train.step.step import Outcome, Step
from david.train.writers import Writer, writers


class Recorder:
    """Collects outcomes on every rank; the one that leads writes them into the run's folder and to its writers.

    The journal's lines: `step`, `epoch`, `loss` (weighted; null for a step that was skipped), each term's own loss,
    `norm` of the gradient, `rate`, `samples_per_s` and `wait` (the share of the time spent waiting for data), both over
    the steps of one flush and of training alone, see `aside`, the most memory that this process has held, see
    `memory.py`, and what there is to note beside, see `Outcome.extras`.
    """

    def __init__(
        self,
        out: Path,
        start: int,
        recipe: Recipe,
        step: Step,
        watch: Watch,
        world: World,
        display: Display,
        track: tuple[str, ...],
        clock: Callable[[], float] = time.perf_counter,
        post: type[Post] = Post,
    ):
        """track: writers beside TensorBoard's, see `writers/`; clock: seconds since whenever; post: how tensors come to
        the host"""
        self._out, self._recipe, self._step, self._watch = out, recipe, step, watch
        self._world, self._display = world, display
        self._pending: list[Outcome] = []
        self._post, self._sent = post, None
        self._clock, self._wait_s, self._since, self._skipped = clock, 0.0, clock(), 0
        self._files: list[Journal] = []
        self._writers: list[Writer] = []
        if world.leads:
            names = ("journal.jsonl", "ledger.jsonl", "metrics.jsonl")
            self._files = [Journal(out / name) for name in names]
            self._writers = writers(track, out, start, recipes.to_json(recipe))

    @trace.spanned("log")
    def take(self, outcome: Outcome, batch: Batch, wait_s: float) -> None:
        """Note a step and this rank's batch; flushes by itself every `log_every` steps."""
        self._read()
        self._watch.hold(outcome, batch)
        self._pending.append(outcome)
        self._wait_s += wait_s
        if outcome.step % self._recipe.log_every == 0:
            if self._post.is_late(self._world.device):
                self._send()
            else:
                self.flush()

    @trace.spanned("log")
    def flush(self) -> None:
        """Write down what is pending. All ranks come here together. Raises DavidError where the run has diverged."""
        self._read()
        self._watch.look()
        self._send()
        self._read()

    def _send(self) -> None:
        """Send what is pending on its way; nobody waits for it. All ranks come here together."""
        if not self._pending:
            return
        outcomes, self._pending = self._pending, []
        losses = self._world.sum(torch.stack([outcome.losses for outcome in outcomes]))
        seen = self._world.gather(torch.stack([outcome.seen for outcome in outcomes]))
        norms = torch.stack([outcome.norm for outcome in outcomes])
        extras = [torch.stack([outcome.extras[name] for outcome in outcomes]) for name in outcomes[0].extras]
        self._sent = outcomes, self._post([losses, norms, seen, *extras])

    def _read(self) -> None:
        """Write down what was sent, if anything was. Raises DavidError where the run has diverged."""
        if self._sent is None:
            return
        (outcomes, post), self._sent = self._sent, None
        losses, norms, seen, *extras = post.read()
        weighted = (losses @ losses.new_tensor(self._step.task.weights)).tolist()
        now = self._clock()
        seconds, self._since = now - self._since, now
        pace = {
            "samples_per_s": round(len(outcomes) * self._recipe.batch_size / seconds, 2),
            "wait": round(self._wait_s / seconds, 4),
            **memory.peak_gb(),
        }
        self._wait_s = 0.0
        for place, outcome in enumerate(outcomes):
            loss, norm = weighted[place], norms[place].item()
            taken = norm - norm == 0 and loss - loss == 0  # both finite
            self._skipped = 0 if taken else self._skipped + 1
            if not self._world.leads:
                continue
            ids, epochs, real = seen[:, place].transpose(0, 1).flatten(1).numpy()
            row = ledger.entry(outcome.step, ids, epochs, real.astype(bool))
            record = {"step": outcome.step, "epoch": row["epoch"], "loss": loss if taken else None}
            if taken:
                record |= dict(zip(self._step.task.terms, losses[place].tolist(), strict=True)) | {"norm": norm}
            record |= {"rate": self._recipe.optim.rate * outcome.factor} | pace
            record |= {name: values[place].item() for name, values in zip(outcome.extras, extras, strict=True)}
            self._write(record, row)
        if self._skipped > self._recipe.max_skipped or self._skipped >= self._recipe.steps:
            last = losses[-1].isfinite().tolist()
            odd = ", ".join(name for name, sound in zip(self._step.task.terms, last, strict=True) if not sound)
            raise DavidError(
                f"step {outcomes[-1].step}: the gradient was not finite in {self._skipped} steps in a row"
                f"{odd and f', as {odd} were not'} "
                f"(max_skipped is {self._recipe.max_skipped}); lower optim.rate, or take precision=fp32"
            )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Meanwhile something else than training goes on, whose time is not counted: measuring, drawing, saving. All
        ranks come here together; what is pending is written down before."""
        self.flush()
        yield
        self._since = self._clock()

    def _write(self, record: dict[str, Any], seen: dict[str, Any]) -> None:
        step = record["step"]
        self._files[0].write(record)
        self._files[1].write(seen)
        scalars = {f"train/{name}": value for name, value in record.items() if value is not None and name != "step"}
        for writer in self._writers:
            writer.scalars(step, scalars)
        self._display.update(record)

    def measured(self, step: int, found: dict[str, float]) -> None:
        """Note the metrics of the held-out samples after `step`."""
        if self._world.leads:
            self._files[2].write({"step": step} | found)
            for writer in self._writers:
                writer.scalars(step, {f"val/{name}": value for name, value in found.items()})

    def pictured(self, step: int, sheet: np.ndarray) -> None:
        """Note the sheet of held-out samples after `step`, (H, W, 3) uint8."""
        for writer in self._writers:
            writer.picture(step, "held-out", sheet)

    def best(self) -> int:
        """The step of the best evaluation so far, by the recipe's `best`; 0 where there is none, and on other ranks."""
        if not self._world.leads or self._recipe.best is None:
            return 0
        return best_step(self._out / "metrics.jsonl", self._recipe.best) or 0

    def sync(self) -> dict[str, Mark]:
        """Return once all that was written is on the disk: each file's mark, by its name."""
        return {file.path.name: file.sync() for file in self._files}

    def close(self) -> None:
        for part in (*self._files, *self._writers):
            part.close()
