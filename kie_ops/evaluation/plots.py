"""Plots of a study, as PNG files: F1 along the stream, and how far scores can be believed.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops.errors import InputError
from kie_ops.evaluation.calibration import Reliability
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON, f1_of
from kie_ops.evaluation.stream_scores import MODES
from kie_ops.evaluation.stream_study import Study, Trial

WINDOW = 50
"""Documents of a moving window, or a fifth of the stream where that is less."""
COLOURS = {OFF: "#777777", DICTIONARY: "#d08000", ON: "#0060b0"}


def curve(study: Study, trial: Trial, mode: str, window: int) -> np.ndarray:
    """float64 [orders, documents - window + 1]: F1 in a moving window of documents, by place in the order."""
    counts = np.take_along_axis(trial.counts[:, :, MODES.index(mode)], study.turns[:, :, None], axis=1)
    sums = np.concatenate([np.zeros_like(counts[:, :1]), counts.cumsum(axis=1)], axis=1)
    return f1_of(sums[:, window:] - sums[:, :-window])


def write(study: Study, believed: Mapping[str, Reliability], folder: Path) -> list[Path]:
    """Writes learning-ARM.png and reliability.png.  Raises InputError where matplotlib is not installed."""
    figures = _figures()
    folder.mkdir(parents=True, exist_ok=True)
    out = [_learning(figures, study, trial, folder) for trial in study.trials]
    return [*out, _reliability(figures, believed, folder)]


def _figures() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need matplotlib", next_step="pip install engram-kie[train]") from None
    return Figure


def _learning(figures: Any, study: Study, trial: Trial, folder: Path) -> Path:
    """A line a mode: the mean over orders; the band is from the lowest to the highest order."""
    window = max(1, min(WINDOW, study.documents // 5))
    figure = figures(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for mode in (OFF, DICTIONARY, ON):
        lines = 100 * curve(study, trial, mode, window)
        at = np.arange(window, window + lines.shape[1])
        axes.plot(at, lines.mean(axis=0), color=COLOURS[mode], label=mode)
        axes.fill_between(at, lines.min(axis=0), lines.max(axis=0), color=COLOURS[mode], alpha=0.15, linewidth=0)
    axes.set(xlabel="documents read", ylabel=f"F1 of the last {window} documents",
             title=f"{study.scheme}, {trial.arm.name}, {len(study.seeds)} orders")
    axes.legend()
    name = "".join(c if c.isalnum() else "-" for c in trial.arm.name)
    return _saved(figure, folder / f"learning-{name}.png")


def _reliability(figures: Any, believed: Mapping[str, Reliability], folder: Path) -> Path:
    figure = figures(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for name, found in believed.items():
        axes.plot([b.score for b in found.bins], [b.right for b in found.bins], marker="o",
                  label=f"{name}: error {100 * found.error:.1f}, noise {100 * found.floor:.1f}")
    axes.set(xlabel="score", ylabel="share that is right", title="Emitted mentions, ten bins of equal mass")
    axes.legend()
    return _saved(figure, folder / "reliability.png")


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path
