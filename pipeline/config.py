"""What a recipe says about its data: sizes, order, and how the work is spread over the machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from david.pack.errors import DavidError
from david.pipeline.sampling.augment import AugmentConfig
from david.pipeline.sampling.mixture import Mixture, seed_of
from david.pipeline.sampling.order import LastBatch, Order, Shuffle
from david.pipeline.sampling.placement import Fit

Decode = Literal["auto", "cpu", "gpu"]
MOST_THREADS = 1024  # more is a slip of the pen, and none would ever begin


def fit_before(height: int | None, width: int | None) -> Fit:
    """What became of samples before there was a choice: they all were SynthHuman's, 512 x 384, and were stretched."""
    return "cover" if height is None or width is None or height * 384 == width * 512 else "stretch"


@dataclass(frozen=True)
class DataConfig:
    """height, width: of the batch, in pixels; both None for the samples' own size
    fit: how samples of another shape are placed in it: `cover` cuts off what is too much, `contain` leaves empty what
        is too little, `stretch` bends them (see `placement.py`); `own` says that there is no height and width
    augment: chances and ranges, used for training only
    last_batch: `drop` or `pad`, see `order.Order`
    shuffle: `full`, any sample anywhere in its epoch, for local disks; `blocks`, shards in any order and samples within
        each `window` of shards, for disks and networks that want to read in sequence
    weights: whole numbers, one for each shard set: of 3,1 three samples come from the first for each of the second, and
        each set walks its own epochs. Empty: all sets are one, an epoch is every sample of each once
    threads: of the CPU, for reading and decoding, for each rank; None for this machine's cores, shared by its ranks
    prefetch: finished batches that wait for the trainer
    decode: where batches for a GPU's training are decoded and augmented: `cpu`, on its threads, copied over meanwhile,
        to the bit what a CPU trains on; `gpu`, by NVIDIA DALI, whose images differ by rounding; `auto`, what `david
        train` finds faster when a run begins, which then keeps it, and `cpu` elsewhere. What is not trained on is
        always decoded by the CPU, so that figures and pictures are the same anywhere
    """

    height: int | None = None
    width: int | None = None
    fit: Fit = "cover"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    last_batch: LastBatch = "drop"
    shuffle: Shuffle = "full"
    window: int = 16
    weights: tuple[int, ...] = ()
    threads: int | None = None
    prefetch: int = 2
    decode: Decode = "auto"

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise DavidError(
                f"height is {self.height} and width is {self.width}; give both, or neither for the samples' own size"
            )
        if self.fit not in get_args(Fit):
            raise DavidError(f"fit is {self.fit!r}; it must be {', '.join(map(repr, get_args(Fit)))}")
        if self.fit != "cover" and (self.fit == "own") != (self.height is None):
            raise DavidError(
                f"fit is `{self.fit}` and height is {self.height}; `own` is for batches without a height and a width, "
                "the others for batches that have them"
            )
        for name in ("height", "width", "window", "threads", "prefetch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DavidError(f"{name} is {value}; it must be at least 1")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise DavidError(f"threads is {self.threads}; at most {MOST_THREADS:,} are taken")
        if any(weight < 1 for weight in self.weights):
            raise DavidError(f"weights are {', '.join(map(str, self.weights))}; each must be a whole number from 1 on")
        if self.last_batch not in ("drop", "pad"):
            raise DavidError(f"last_batch is {self.last_batch!r}; it must be `drop` or `pad`")
        if self.shuffle not in ("full", "blocks"):
            raise DavidError(f"shuffle is {self.shuffle!r}; it must be `full` or `blocks`")
        if self.decode not in get_args(Decode):
            raise DavidError(f"decode is {self.decode!r}; it must be {', '.join(map(repr, get_args(Decode)))}")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width); None for the samples' own."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    def content(self) -> dict[str, Any]:
        """What decides on the batches, without what only decides on their speed; without `fit` where it is as it was
        before there was a choice, so that loaders of then are still known; without `decode`, which a loader adds where
        it decides on pixels."""
        left_out = {"threads", "prefetch", "decode"}
        if self.fit in ("own", fit_before(self.height, self.width)):
            left_out.add("fit")
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def order(self, sets: Sequence[Sequence[int]], batch_size: int, seed: int, train: bool = True) -> Order | Mixture:
        """The steps over a split. sets: for each shard set the samples of each of its shards

        For validation: each sample once in stored order, padded. Raises DavidError where there is no such order."""
        if train and self.weights:
            if not all(map(sum, sets)):
                raise DavidError("data.weights: a shard set without samples in this split can't be mixed; leave it out")
            mixed = [self._order(one, 1, seed_of(seed, number)) for number, one in enumerate(sets)]
            return Mixture(tuple(mixed), self.weights, batch_size, seed)
        shards = [samples for one in sets for samples in one]
        if train:
            return self._order(shards, batch_size, seed)
        return Order(sum(shards), batch_size, seed, shuffle=False, last_batch="pad")

    def _order(self, shards: Sequence[int], batch_size: int, seed: int) -> Order:
        by_blocks = {"shards": tuple(shards), "window": self.window} if self.shuffle == "blocks" else {}
        return Order(sum(shards), batch_size, seed, shuffle=True, last_batch=self.last_batch, **by_blocks)
