"""ARCHITECTURE.md, made from what each module's docstring says first: `python tests/architecture.py` writes it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
ROOMS = ("pack", "pipeline", "model", "train", "bench")
HEAD = """# How david is made

Raw zips go in at the top; a trained network and figures about it come out at the bottom.

| room | what it does | may import |
|---|---|---|
| `pack` | raw zips to shards, and shards to samples | nothing of david; neither torch nor DALI |
| `pipeline` | shards to batches on the model's device | `pack` |
| `model` | an image to a prediction | `pack` |
| `train` | batches to checkpoints | `pipeline`, `model`, `pack` |
| `bench` | measures all of it | all above |

`cli.py` is the one command; each room registers its own subcommands, and loads torch only when one of them needs it.
`tests/test_project.py` reads every import and fails on one that this table does not allow.

## The main path of each room

**pack.** `build.py` lists the archives, plans which sample stands in which shard (`plan.py`, from listings alone), and
hands shard numbers to a crew of watched processes (`crew.py`, or Ray). Each worker (`worker.py`) reads a sample's files
in place, decodes them (`sources/`, a file for each data set), checks them (`check/`), and encodes them (`shard.py`,
`codings.py`, `codecs.py`) into a tar with an index. The manifest `dataset.json` is written last, so a folder that has
one is a whole set.

**pipeline.** `loader.py` asks `order.py` which samples a step takes and `draws.py` how each is augmented: both are pure
functions of seed, epoch and sample; `placement.py` says where a batch's pixels lie. `reader.py` reads and checks their
bytes, from the disk or from a cache that `prefetch.py` fills. An engine decodes and augments them into a `Batch`, field
by field as the sets' tables say (`cpu.py`, or `cpu_to_gpu.py` with a copy to a GPU, or `gpu.py` by DALI there);
`reference.py` does the same slowly, and tests hold the engines to it.

**model.** `config.py` says which kinds of network there are. `networks/david.py` resizes the image for a ViT of timm
(`backbone.py`), turns its tokens back into maps (`reassemble.py`), and joins them with what the ViT cannot see
(`resizer.py`, `decoder.py`). Each head (`heads/`) makes one entry of a `Prediction`. `weights.py` loads and saves,
without pickle. `predict/predictor.py` carries a picture of any size through a network and back: `fit.py` how it reaches
the network, `engine.py` and `onnx_file.py` what computes, `fields.py` what comes out.

**train.** `loop.py` takes a recipe and a shard set to a run's folder: loader, step, recorder, evaluation, checkpoint.
A step is three files: `step/step.py`, the same on every rank; `step/gradients.py`, how gradients are summed; and the
task, `tasks/supervised.py`, the one place where a prediction meets a batch, by the rows of `losses/table.py`.
`recorder.py` writes what happened, `checkpoint.py` what is needed to go on. `docs/extending.md` says how to add a data
set, a network, a head, a loss, a metric or a task.

**bench.** `harness.py` lets what is compared take turns, so that a machine's drift falls on all alike. `suites/`
measure david by its own path and `peers/` others on the same samples. A result is a row in `results/` with its
hardware, versions, commit and data, and the README's figures are made from the newest rows (`tests/readme.py`).
`doctor/` says whether a machine works, `campaign/` asks a new one everything; `child.py` keeps what hangs or dies there
to itself.

## How a byte travels from zip to gradient

1. `zips.py` finds a member by the zip's directory and reads it in place; its CRC is checked.
2. `png.py` and `exr.py` decode it; the data set's source (`sources/synthhuman.py`) makes unit normals (X right, Y up, Z
   towards the camera) of it, names the unit of depth, and says which pixels mean anything.
3. `codecs.py` encodes: RGB as JPEG or lossless WebP; depth as float16 between an offset and a scale; normals as 12-bit
   octahedral codes; bytes split into planes, each LZ4 or zstd. A shard is a tar, and its hash stands in the manifest.
4. `reader.py` reads the sample's members in one go and checks them. The engine decodes JPEG and planes straight into a
   batch's reused memory, mirrors, recolours and resizes it, never mixing valid with invalid pixels.
5. `train/tasks/supervised.py` hands the batch to the network and compares prediction and target where the target is
   valid; `train/step/` sums gradients over ranks, clips them, and AdamW changes the weights.

## What must stay true

- A shard is a function of the raw data, the options and its number. No clock decides a byte.
- Order and draws are functions of seed, epoch and sample, whatever the ranks; a loader's state is one number.
- Files are whole or absent: a temporary name, flush, fsync, rename.
- What comes from outside is bounded and checked before it is decoded; nothing is unpickled.
- A mistake of the user's ends in one sentence and exit code 2; what stopped by a signal and saved ends with 75.
- A bad sample stops the work or is counted and listed, never replaced.

## Every file
"""


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def told(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    return re.split(r"[.?](?=\s|$)", text)[0]


def page() -> str:
    """Every module of the rooms, with what its own docstring says first."""
    lines = [HEAD]
    for room in ROOMS:
        for folder in sorted({path.parent for path in files(room)}):
            lines.append(
                f"## `{folder.relative_to(ROOT)}/`\n\n{told(folder / '__init__.py')}\n\n| file | holds |\n|---|---|"
            )
            inside = [path for path in files(room) if path.parent == folder and path.name != "__init__.py"]
            lines += [f"| [`{path.name}`]({path.relative_to(ROOT)}) | {told(path)} |" for path in inside]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
