"""Finds every cell nucleus in a microscope image, as one mask per nucleus: a Detectron2 project.

    import nucleus

    model = nucleus.load_model("lite")  # or load_model(weights="output/quick/model_final.pth")
    prediction = model.predict(image)  # (H, W) or (H, W, 3)
    prediction.label_image, prediction.scores, prediction.boxes

Importing this package imports nothing else, so that `nucleus doctor` can run where the rest cannot; `load_model` brings
torch and Detectron2 in when it is first asked for.
"""

from typing import Any

__version__ = "0.1.0.dev0"

_LATER = {"load_model": "nucleus.inference.predictor"}  # name -> module that has it


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
