"""How long a sample takes to train on under given settings, by david's own loader and step together."""

import math
from collections import OrderedDict
from pathlib import Path

import torch

from david.bench.child import first_line
from david.bench.suites import training
from david.bench.tune import candidates
from david.bench.tune.candidates import Settings
from david.pack.errors import DavidError
from david.pipeline.loader import cores
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step import decoding, micro_batch
from david.train.step.step import Step
from david.train.step.tuned import with_settings

HELD = 2  # steps that are kept in memory: as many as take turns
COMPILING_S = 45.0  # a guess, before it was seen


class Training:
    """recipe: with its `parallel` settled; shards: a shard set; every rank has one, and asks for the same

    groups: the candidates, see `candidates.py`, where what the recipe leaves open is what a run would find."""

    def __init__(self, recipe: Recipe, shards: Path, world: World):
        on_gpu, asked = world.device.type == "cuda", recipe.data.decode
        recipe, _ = decoding.settled(recipe, shards, None, world)
        self.recipe, self.shards, self.world = recipe, shards, world
        self._steps: OrderedDict[tuple[object, ...], tuple[Step, list[str]]] = OrderedDict()
        decoders = (recipe.data.decode,)
        if asked == "auto" and on_gpu:
            decoders = ("gpu", "cpu") if recipe.data.decode == "gpu" else ("cpu", "gpu")
        share = most = math.ceil(recipe.batch_size / world.size)
        draws = self.step(recipe)[0].draws
        if recipe.micro_batch is not None and recipe.parallel != "exact" and not draws:
            most = micro_batch.fitted(recipe, shards, world).micro_batch or share
        self.groups = (
            candidates.of_computing(recipe, share, most, on_gpu, draws),
            candidates.of_feeding(recipe, cores(world.size), decoders),
        )

    def seconds(self, settings: Settings, budget_s: float) -> float:
        """Of a sample, over all ranks together. Raises DavidError where it can't be."""
        recipe, cost, why = with_settings(self.recipe, settings), math.inf, "another rank could not"
        try:
            step, said = self.step(recipe)
            rate, _ = training.both(step, recipe, self.shards, self.world, None, budget_s)["rate"]
            cost = 1 / rate
            if failed := [sentence for sentence in said if sentence.startswith("torch.compile failed")]:
                cost, why = math.inf, failed[0]
        except torch.OutOfMemoryError:
            why = "it takes more memory than there is"
        except Exception as error:  # of compilers, drivers, DALI: they share no base
            why = first_line(error)
        costs = self.world.gather(torch.tensor(cost, dtype=torch.float64, device=self.world.device))
        if not bool(costs.isfinite().all()):
            self._steps.clear()
            if self.world.device.type == "cuda":
                torch.cuda.empty_cache()
            raise DavidError(why)
        return float(costs.mean())

    def step(self, recipe: Recipe) -> tuple[Step, list[str]]:
        """The recipe's, and what it said of itself so far."""
        key = (recipe.micro_batch, recipe.compile)
        if key not in self._steps:
            while len(self._steps) >= HELD:
                self._steps.popitem(last=False)
            said: list[str] = []
            self._steps[key] = training.make_step(recipe, self.world, said.append), said
        self._steps.move_to_end(key)
        return self._steps[key]

    def begins(self, settings: Settings) -> float:
        """A guess of the seconds that a first measurement takes beside those that it is given."""
        compiles, parts = settings.get("compile", "off"), settings.get("micro_batch")
        return 0.0 if compiles == "off" or (parts, compiles) in self._steps else COMPILING_S
