"""What others reached on these benchmarks, as they publish it; shown beside what is measured, and never mixed with it.

Angles in degrees, shares of pixels as shares, SAD in thousands of pixels; RMSE as printed, which is almost surely
decimetres on Goliath and metres on Hi4D; metres elsewhere.
"""

from dataclasses import dataclass

DA2 = "Yang et al., Depth Anything V2, NeurIPS 2024"
ZOE = "Bhat et al., ZoeDepth, 2023"
CARDS = "model cards of the official DAViD repository"
PAPER = "Saleh et al., DAViD, ICCV 2025"


@dataclass(frozen=True)
class Published:
    """Who, where it stands, and the figures by name; those that are not there were not published."""

    who: str
    source: str
    figures: dict[str, float]


def _depth(unit: str, rmse: float, abs_rel: float | None = None) -> dict[str, float]:
    return {f"depth_rmse_{unit}": rmse} | ({} if abs_rel is None else {"depth_abs_rel": abs_rel})


def _normals(mean: float, *others: float) -> dict[str, float]:
    """others: the median, and percents within 11.25, 22.5 and 30 degrees."""
    found = {"normals_mean_deg": mean}
    if others:
        median, *percents = others
        within = (f"normals_within_{degrees}" for degrees in ("11.25", "22.5", "30"))
        found |= {"normals_median_deg": median} | {n: p / 100 for n, p in zip(within, percents, strict=True)}
    return found


def _alpha(sad: float, sad_unknown: float | None = None, mse: float | None = None) -> dict[str, float]:
    found = {"alpha_sad": sad, "alpha_sad_unknown": sad_unknown, "alpha_mse": mse}
    return {name: value for name, value in found.items() if value is not None}


def _metres(a1: float, abs_rel: float, rmse: float) -> dict[str, float]:
    return {"metric_a1": a1, "metric_abs_rel": abs_rel, "metric_rmse": rmse}


BASE, LARGE, MULTI = "DAViD Base", "DAViD Large", "DAViD multi-task Large"

DA2_S, DA2_B, DA2_L = (f"Depth Anything V2 {size}" for size in "SBL")
TUNED = "{}, fine-tuned".format

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "nyu": (
        Published(TUNED(DA2_S), DA2, _metres(0.961, 0.073, 0.261)),
        Published(TUNED(DA2_B), DA2, _metres(0.977, 0.063, 0.228)),
        Published(TUNED(DA2_L), DA2, _metres(0.984, 0.056, 0.206)),
        Published("ZoeD-M12-N", ZOE, _metres(0.955, 0.075, 0.270)),
    ),
    "kitti": (
        Published(TUNED(DA2_S), DA2, _metres(0.973, 0.053, 2.235)),
        Published(TUNED(DA2_B), DA2, _metres(0.979, 0.048, 1.999)),
        Published(TUNED(DA2_L), DA2, _metres(0.983, 0.045, 1.861)),
    ),
    "sunrgbd": (Published("ZoeD-M12-NK, zero-shot", ZOE, _metres(0.856, 0.123, 0.356)),),
    "ibims": (Published("ZoeD-M12-NK, zero-shot", ZOE, _metres(0.615, 0.186, 0.777)),),
    "da2k": (
        Published(DA2_S, DA2, {"pairs_right": 0.953}),
        Published(DA2_B, DA2, {"pairs_right": 0.970}),
        Published(DA2_L, DA2, {"pairs_right": 0.971}),
    ),
    "p3m-500-np": (Published(BASE, CARDS, _alpha(14.88, 10.31)), Published(LARGE, CARDS, _alpha(14.83, 10.23))),
    "p3m-500-p": (Published(BASE, CARDS, _alpha(17.92, 9.66)), Published(LARGE, CARDS, _alpha(12.65, 9.19))),
    "ppm-100": (
        Published(BASE, CARDS, _alpha(90.86)),
        Published(LARGE, CARDS, _alpha(78.17)),
        Published(MULTI, CARDS, _alpha(66.08)),
    ),
    "photomatte85": (
        Published(BASE, CARDS, _alpha(7.97, mse=0.0017)),
        Published(LARGE, CARDS, _alpha(5.85, mse=0.0009)),
        Published(MULTI, CARDS, _alpha(5.40, mse=0.0008)),
    ),
    "hi4d": (
        Published(BASE, CARDS, _depth("m", 0.085, 0.024) | _normals(15.72, 12.95, 43.2, 78.7, 89.2)),
        Published(LARGE, CARDS, _depth("m", 0.072, 0.019) | _normals(15.37, 12.51, 45.1, 79.7, 89.6)),
        Published(MULTI, CARDS, _depth("m", 0.078, 0.021) | _normals(15.61)),
        Published("MiDaS-L", PAPER, _depth("m", 0.148)),
        Published("Depth Anything V2 L", PAPER, _depth("m", 0.130)),
        Published("Depth Pro", PAPER, _depth("m", 0.084)),
        Published("Sapiens-2B", PAPER, _depth("m", 0.095) | _normals(12.14)),
    ),
    "goliath": (  # the mean of the three parts' figures: so it is with those of Base
        Published(BASE, PAPER, _depth("dm", 0.278)),
        Published(MULTI, CARDS, _depth("dm", 0.270, 0.009) | _normals(15.27)),
    ),
    "goliath-face": (
        Published(BASE, CARDS, _depth("dm", 0.142, 0.009) | _normals(17.33, 12.36, 47.7, 75.9, 84.5)),
        Published(LARGE, CARDS, _depth("dm", 0.140, 0.009) | _normals(17.15, 12.19, 48.4, 76.3, 84.7)),
        Published("MiDaS-L", PAPER, _depth("dm", 0.224)),
        Published("Depth Anything V2 L", PAPER, _depth("dm", 0.229)),
        Published("Depth Pro", PAPER, _depth("dm", 0.295)),
        Published("Sapiens-2B", PAPER, _depth("dm", 0.158) | _normals(16.04)),
    ),
    "goliath-upper": (
        Published(BASE, CARDS, _depth("dm", 0.316, 0.009) | _normals(14.10, 11.32, 50.3, 83.9, 91.8)),
        Published(LARGE, CARDS, _depth("dm", 0.283, 0.008) | _normals(13.96, 11.23, 50.7, 84.2, 92.1)),
    ),
    "goliath-full": (
        Published(BASE, CARDS, _depth("dm", 0.376, 0.010) | _normals(14.60, 11.79, 48.1, 82.3, 91.1)),
        Published(LARGE, CARDS, _depth("dm", 0.334, 0.009) | _normals(14.60, 11.66, 48.7, 82.2, 90.8)),
        Published("MiDaS-L", PAPER, _depth("dm", 0.973)),
        Published("Depth Anything V2 L", PAPER, _depth("dm", 1.039)),
        Published("Depth Pro", PAPER, _depth("dm", 0.723)),
        Published("Sapiens-2B", PAPER, _depth("dm", 0.266) | _normals(11.49)),
    ),
}
