"""The seven ONNX files that DAViD's authors publish: where, and what each says of a picture.

They give no checksums. The sizes on the model cards are rounded, and may be of the weights alone: too little to refuse
a file by. MIT License; 6.9 GB in all.
"""

from collections.abc import Sequence

from david.pack.errors import DavidError

BASE_URL = "https://facesyntheticspubwedata.z6.web.core.windows.net/iccv-2025/models/"
MODELS = {  # by what they are called here
    "foreground-base": "foreground-segmentation-model-vitb16_384.onnx",
    "foreground-large": "foreground-segmentation-model-vitl16_384.onnx",
    "depth-base": "depth-model-vitb16_384.onnx",
    "depth-large": "depth-model-vitl16_384.onnx",
    "normals-base": "normal-model-vitb16_384.onnx",
    "normals-large": "normal-model-vitl16_384.onnx",
    "multi-task-large": "multi-task-model-vitl16_384.onnx",
}


def files(names: Sequence[str]) -> list[str]:
    """The files of models, which may be named as here or by their files. Raises DavidError for a name of none."""
    found = []
    for name in names:
        file = MODELS.get(name, name)
        if file not in MODELS.values():
            raise DavidError(f"--model {name}: there are {', '.join(MODELS)}")
        found.append(file)
    return list(dict.fromkeys(found))
