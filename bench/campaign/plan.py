"""The parts of a campaign, the most worth first: on a GPU the real sizes, on a CPU small ones."""

from typing import Any, get_args, get_type_hints

from david.bench.campaign.page import APART
from david.bench.campaign.part import Part
from david.train.recipe import Recipe

_WORK, _STEPS = "david.bench.campaign.work", "david.bench.campaign.steps"
EAGER = "compile=false"
WITH_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile that record CUDA graphs, for few images
MODES = ("true", *(one for one in get_args(get_type_hints(Recipe)["compile"]) if one in WITH_GRAPHS))
FEW = {mode: ("batch_size=12", f"compile={mode}") for mode in MODES}
SMALL = ("data.threads=1", "parallel=ddp")


def parts_for(device: str) -> list[Part]:
    return {"cuda": on_a_gpu, "cpu": on_a_cpu}[device]()


def on_a_gpu() -> list[Part]:
    def step(name: str, asks: str, recipe: str, *settings: str, share: float = 0.15, most_s: float = 90.0) -> Part:
        how: dict[str, Any] = {"recipe": recipe, "settings": [*settings, "pretrained=false"], "decides": not settings}
        return Part(name, asks, f"{_STEPS}:step", share, most_s, 20.0, how)

    base = {"recipe": "david-base", "settings": ["pretrained=false"]}
    loaders = {"decodes": ["gpu", "cpu"], "threads": [0, 4, 8], **base}
    return [
        Part("data", "samples to measure on", f"{_WORK}:data", 0.25, 90, how={"samples": 256}),
        Part("doctor", "does this machine work", f"{_WORK}:doctor", 0.25, 100),
        step("base", "david-base as it is trained", "david-base", share=0.35, most_s=150),
        Part("tests", "the tests marked gpu", f"{_WORK}:tests", 0.35, 150, 20),
        Part("loader", "the loader by decode placement and threads", f"{_WORK}:loader", 0.2, 60, 20, loaders),
        Part(
            "plain trainer",
            "david beside a trainer as it is usually written",
            f"{_WORK}:beside",
            *(0.3, 100, 30),
            {**base, "batches": 8, "rounds": 1},
        ),
        step("base, not compiled", "what torch.compile gains", "david-base", EAGER, share=0.25),
        Part("attention", "which backend is fastest", f"{_STEPS}:attention", 0.15, 30, 15, base),
        Part(
            f"{APART}base",
            "how far each is from the device's limit",
            f"{_STEPS}:encoder_and_decoder",
            *(0.3, 90, 25),
            base,
        ),
        step("large", "david-large, half of its batch", "david-large", "batch_size=48", share=0.5, most_s=150),
        step("base, batches of 24", "small batches", "david-base", "batch_size=24", share=0.3),
        step("base, batches of 48", "smaller batches", "david-base", "batch_size=48", share=0.3),
        step("base, fp16", "the other half precision", "david-base", "precision=fp16", share=0.3),
        step("base, fp32", "what half precision gains", "david-base", "precision=fp32", EAGER, share=0.3),
        Part(
            f"{APART}large",
            "how far each is from the device's limit",
            f"{_STEPS}:encoder_and_decoder",
            *(0.5, 90, 25),
            {"recipe": "david-large", "settings": ["pretrained=false", "batch_size=48"]},
        ),
        step("large, not compiled", "what torch.compile gains", "david-large", "batch_size=48", EAGER, share=0.6),
        *(
            step(
                f"base, batches of 12, compile={mode}",
                "where launches take longer than kernels",
                "david-base",
                *few,
                share=0.9,
                most_s=180,
            )
            for mode, few in FEW.items()
        ),
    ]


def on_a_cpu() -> list[Part]:
    def smoke(name: str, asks: str, *settings: str, most_s: float = 100.0, share: float = 0.4) -> Part:
        how: dict[str, Any] = {"recipe": "smoke", "settings": [*SMALL, *settings]}
        return Part(name, asks, f"{_STEPS}:step", share, most_s, how=how)

    small: dict[str, Any] = {"recipe": "smoke", "settings": [*SMALL]}
    loaders = {"decodes": ["cpu"], "threads": [1, 0], **small}
    return [
        Part("data", "samples to measure on", f"{_WORK}:data", 0.5, 120, how={"samples": 32}),
        Part("doctor", "does this machine work", f"{_WORK}:doctor", 0.5, 150),
        smoke("smoke", "the smoke recipe's step, and with its loader"),
        Part("loader", "the loader by threads", f"{_WORK}:loader", 0.4, 100, how=loaders),
        Part(
            "plain trainer",
            "david beside a trainer as it is usually written",
            f"{_WORK}:beside",
            *(0.4, 100, 10),
            {**small, "batches": 3, "rounds": 1},
        ),
        smoke("smoke, batches of 4", "small batches", "batch_size=4"),
        Part("attention", "which backend is fastest", f"{_STEPS}:attention", 0.4, 100, how=small),
        Part(
            f"{APART}smoke",
            "where the arithmetic is",
            f"{_STEPS}:encoder_and_decoder",
            *(0.4, 100, 10),
            small,
        ),
        smoke("smoke, bf16, batches of 4", "what half precision gains", "precision=bf16", "batch_size=4"),
        smoke("smoke, compiled", "what torch.compile gains", "compile=true", most_s=200, share=1.0),
    ]
