"""What GPUs could compute at most, by their makers' data sheets: dense matrix products, without sparsity."""

# NVIDIA's data sheets of H100 and H200 (SXM, PCIe, NVL), A100, B200, L4, L40S and the Ada and Ampere white papers of
# GeForce (tensor cores, float16 or bfloat16 with float32 sums); TFLOP/s of halves, and of float32 outside tensor cores.
# Longer names first: the first that is found in a device's name counts.
PEAKS: dict[str, tuple[float, float]] = {
    "H200": (989.4, 66.9),
    "H100 NVL": (835.5, 60.0),
    "H100 PCIe": (756.5, 51.2),
    "H100": (989.4, 66.9),
    "B200": (2250.0, 75.0),
    "A100": (311.9, 19.5),
    "L40S": (362.1, 91.6),
    "L4": (121.0, 30.3),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.2, 35.6),
}


def peak_gflops(device: str | None, halves: bool) -> float | None:
    """GFLOP/s of the device of that name; None where it is not listed. halves: in float16 or bfloat16"""
    for name, (half, single) in PEAKS.items():
        if device and name in device:
            return 1e3 * (half if halves else single)
    return None
