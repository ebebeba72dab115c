"""What a training run shows and keeps: progress with time left, curve.jsonl, curve.png, TensorBoard events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kie_ops.errors import ConfigError

EVERY = 20
"""Steps that a point of the loss curve is the mean of."""


class TrainingLog:
    """`curve.jsonl` goes on where a resumed run's `step` left it: later lines are dropped."""

    def __init__(
        self, folder: Path, name: str, steps: int, step: int, *, quiet: bool = False, wandb: str | None = None
    ) -> None:
        self.folder, self.steps = folder, steps
        self.losses: list[float] = []
        self.tokens, self.since = 0, time.monotonic()
        self.points = [p for p in _read(folder / "curve.jsonl") if p["step"] <= step]
        _write(folder / "curve.jsonl", self.points)
        self.progress = Progress(
            TextColumn(f"train {name}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:.0f} tokens/s"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), disable=quiet,
        )
        self.task = self.progress.add_task("train", total=steps, completed=step, loss=float("nan"), rate=0.0)
        self.board = _board(folder)
        self.wandb = _wandb(wandb, name)

    def __enter__(self) -> TrainingLog:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()
        self._draw()
        if self.board is not None:
            self.board.close()
        if self.wandb is not None:
            self.wandb.finish()

    def step(self, step: int, loss: float, tokens: int, rate: float) -> None:
        self.losses.append(loss)
        self.tokens += tokens
        if len(self.losses) < EVERY and step < self.steps:
            self.progress.update(self.task, completed=step)
            return
        mean, seconds = sum(self.losses) / len(self.losses), max(time.monotonic() - self.since, 1e-9)
        speed = self.tokens / seconds
        self.losses, self.tokens, self.since = [], 0, time.monotonic()
        self.progress.update(self.task, completed=step, loss=mean, rate=speed)
        self._point({"step": step, "loss": mean, "tokens_s": round(speed), "rate": rate})

    def scores(self, step: int, epoch: int, scores: Mapping[str, float]) -> None:
        text = "  ".join(f"{name} {100 * value:.1f}" for name, value in scores.items())
        if not self.progress.disable:
            self.progress.print(f"epoch {epoch}, step {step}: dev F1  {text}")
        self._point({"step": step, "epoch": epoch, "dev": dict(scores)})
        self._draw()
        self.since = time.monotonic()

    def _point(self, point: dict[str, Any]) -> None:
        self.points.append(point)
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        flat = {k: v for k, v in point.items() if k in ("loss", "tokens_s", "rate")}
        flat |= {f"dev/{k}": v for k, v in point.get("dev", {}).items()}
        if self.board is not None:
            for name, value in flat.items():
                self.board.add_scalar(name, value, point["step"])
        if self.wandb is not None:
            self.wandb.log(flat, step=point["step"])

    def _draw(self) -> None:
        from matplotlib.figure import Figure  # slow to import

        figure = Figure(figsize=(8, 4), layout="constrained")
        left = figure.subplots()
        right = left.twinx()
        curve = [(p["step"], p["loss"]) for p in self.points if "loss" in p]
        if not curve:
            return
        left.plot(*zip(*curve, strict=True), color="0.4", label="loss")
        left.set(xlabel="step", ylabel="loss a word", yscale="log")
        for name in sorted({n for p in self.points for n in p.get("dev", {})}):
            at = [(p["step"], 100 * p["dev"][name]) for p in self.points if name in p.get("dev", {})]
            right.plot(*zip(*at, strict=True), marker="o", label=name)
        right.set(ylabel="dev F1", ylim=(0, 100))
        right.legend(loc="lower right", fontsize="small") if right.lines else None
        figure.savefig(self.folder / "curve.png", dpi=120)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except ValueError:  # torn by a kill
            continue
    return points


def _write(path: Path, points: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(p) + "\n" for p in points), encoding="utf-8")


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]


def _wandb(project: str | None, name: str) -> Any:
    if project is None:
        return None
    try:
        import wandb
    except ImportError:
        raise ConfigError("Weights & Biases is asked for, but not installed", next_step="pip install wandb") from None
    return wandb.init(project=project, name=name)
