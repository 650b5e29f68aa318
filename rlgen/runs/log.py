"""RunLog: metrics.jsonl is the truth; wandb and the progress bar are sinks that can neither stop nor slow training."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from rlgen.core.form import check_form
from rlgen.core.watched import Rule
from rlgen.errors import DiskError, DivergedError
from rlgen.files import Lines, made, write_whole
from rlgen.pictures import save_png
from rlgen.runs import diverged
from rlgen.runs.files import write_json
from rlgen.runs.health import LEVELS, NOT_FINITE, NUMBER, Health, Verdict, is_told, of_rows
from rlgen.runs.progress import Progress
from rlgen.runs.rows import WEIGHTS, strict
from rlgen.runs.run import Run
from rlgen.runs.summary import print_summary, summarize
from rlgen.runs.sums import Sums
from rlgen.runs.wandb_sink import Row, Wandb
from rlgen.text import warn
from rlgen.video import Clip

if TYPE_CHECKING:
    from torch import Tensor


class RunLog:
    """Collects metrics, writes rows, and shows where the run stands. Make it inside `run.running()`.

    Args:
        run: whose directory is written to.
        wandb_mode: auto (online with an account and a network, else offline), online, offline or disabled.
        metric: name of the one that matters most, shown beside the bar.
        quiet: no bar, no lines and no summary; warnings stay.
        watched: rules for a verdict on the run, which every row then has.
    """

    def __init__(
        self,
        run: Run,
        wandb_mode: Literal["auto", "online", "offline", "disabled"],
        metric: str = "charts/episodic_return",
        quiet: bool = False,
        watched: Sequence[Rule] = (),
    ) -> None:
        self._run, self._quiet, self._watched = run, quiet, watched
        self._health: Health | None = None
        self._is_told = True  # the rows say of the verdict what it is
        self._sums = Sums()
        self._last: dict[str, float] = {}  # newest value of every metric
        # opened by the first row: a resume replaces the file before
        self._rows = Lines(run.path / "metrics.jsonl")
        self._wandb = Wandb(run, wandb_mode)
        self._progress = Progress(run, ["charts/episodic_return", metric], self._last, quiet, self._verdict)
        self._begin = time.monotonic()  # moved back by the time that earlier sessions took
        self._last_row = (run.step, 0.0)  # step and time of the newest training row, for charts/SPS
        self._closed = False

    @property
    def health(self) -> Health:
        """What is thought of the run, by its rows: those of earlier sessions are read when it is first asked for."""
        if self._health is None:
            self._health = of_rows(self._watched, self._run.steps, self._run.path)
            self._is_told = is_told(self._health.verdict, self._run.path / "metrics.jsonl")
        return self._health

    def _verdict(self) -> Verdict:
        return self.health.verdict

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Count one update's metrics in: 0-d tensors, which stay on their device, so that nothing waits for it."""
        if self._sums.add(metrics) and not self._sums.were_finite():
            self.write(self._run.step)  # which finds and names it
        self._progress.tick()

    def write(self, step: int, metrics: dict[str, Any] | None = None, kind: Literal["train", "eval"] = "train") -> Row:
        """Write one row: step, time in seconds, the means of what was added (training rows only), and `metrics`.

        Args:
            step: of the run's clock.
            metrics: numbers; pictures, uint8 [H, W, C], which go to `samples/` and wandb; and videos, clips, which go
                to `videos/` and wandb; None is left out.
            kind: `eval` rows always reach wandb, others a few times a second at most.

        Raises:
            DivergedError: a value is not finite; the row is written.
            DiskError: it cannot be written.
            MovedRunError: the directory was removed.
        """
        self._run.look()
        seconds = time.monotonic() - self._begin
        row: Row = {"step": step, "time": round(seconds, 3)}
        if kind == "train":
            last_step, last_seconds = self._last_row
            row["charts/SPS"] = round((step - last_step) / max(seconds - last_seconds, 1e-9), 1)
            self._last_row = (step, seconds)
            row |= self._sums.means()
            self._sums = Sums()
        metrics = {name: value for name, value in (metrics or {}).items() if value is not None}
        pictures = {name: value for name, value in metrics.items() if isinstance(value, (np.ndarray, Clip))}
        row |= {name: _number(value) for name, value in metrics.items() if name not in pictures}
        values = {name: value for name, value in row.items() if name not in ("step", "time")}
        self._last |= values
        judged = self.health if self._watched else None
        changed = judged is not None and (judged.add(row) or not self._is_told)
        self._is_told = True
        words = judged.words(changed) if judged else {}
        self._add_row({name: strict(value) for name, value in row.items()} | words)
        for name, picture in pictures.items():
            self._wandb.image(step, name, self._save_picture(step, name, picture))
        numbers = {NUMBER: LEVELS.index(judged.verdict.level)} if judged else {}
        self._wandb.log({**values, **numbers, "global_step": step}, always=kind == "eval")
        if judged and changed and judged.verdict.says != NOT_FINITE:  # of which it is told anyway
            self._wandb.alert(*judged.verdict.message(self._run.name))
        self._progress.tick()
        self._check_finite(values, step)
        return row

    def _add_row(self, row: Row | dict[str, Any]) -> None:
        self._rows.path = self._run.path / "metrics.jsonl"  # the run may have been moved before its first row
        self._rows.add(json.dumps(row, allow_nan=False))

    def _save_picture(self, step: int, name: str, picture: np.ndarray | Clip) -> Path:
        folder, suffix = ("videos", picture.suffix) if isinstance(picture, Clip) else ("samples", "png")
        path = made(self._run.path / folder) / f"{name.rpartition('/')[2]}_{step:09d}.{suffix}"
        if isinstance(picture, Clip):
            write_whole(path, picture.data)
        else:
            save_png(Image.fromarray(picture.squeeze()), path)
        return path

    def state_dict(self, weights: str) -> dict[str, Any]:
        """What was added since the last row, and the clock; leaves a row with the digest of the weights.

        Raises:
            DivergedError: a metric added since then is not finite, so the state is not worth saving.
            DiskError: the rows are not on the disk.
        """
        self._check_finite(self._sums.means(), self._run.step)
        self._add_row({"step": self._run.step, WEIGHTS: weights})
        self._rows.sync()  # the rows of a checkpoint are as durable as the checkpoint
        return {
            "sums": self._sums.state_dict(),
            "time": time.monotonic() - self._begin,
            "last": dict(self._last),
            "last_row": list(self._last_row),
            "size": self._rows.size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned.

        Raises:
            ValueError: it is something else.
        """
        last = dict.fromkeys(state["last"], 0.0)
        check_form(state, {"time": 0.0, "last": last, "last_row": [0, 0.0], "size": 0}, "log")
        self._sums.load_state_dict(state["sums"])
        self._begin = time.monotonic() - state["time"]
        self._last.clear()
        self._last |= state["last"]
        self._last_row = (state["last_row"][0], state["last_row"][1])

    def close(self, exit_code: int = 0, reason: BaseException | None = None) -> None:
        """End the bar and wandb, write summary.json and print what to do next; `reason` is what ended it, if not well.

        Raises:
            DiskError: not all could be written, of a run that had ended well; whatever else ended it matters more.
            MovedRunError: the directory was removed.
        """
        if self._closed:
            return
        self._closed = True
        self._progress.close()
        self._wandb.finish(exit_code)
        try:
            self._rows.close()
            self._run.look()
            verdict = self.health.at_the_end(exit_code, self._run.step, reason) if self._watched else None
            summary = summarize(self._run, exit_code, time.monotonic() - self._begin, self._last, verdict)
            write_json(self._run.path / "summary.json", summary)
        except DiskError as error:
            if exit_code == 0:
                raise
            if exit_code != error.exit_code:
                warn(str(error))
            return
        if not self._quiet and summary["status"] != "failed":
            print_summary(self._run, summary, self._wandb.note)

    def _check_finite(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                message = f"{name} is {value} at step {step:,}: the run has diverged"
                self._wandb.alert(f"{self._run.name} has diverged", message)
                raise DivergedError(f"{message}; {diverged.advice(self._run)}")


def _number(value: Any) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)
