"""What wandb gets beside the rows: the code, and at the end checkpoints and weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from rlgen.runs import checkpoint, segments
from rlgen.runs.files import digest
from rlgen.runs.run import Run
from rlgen.text import warn

MAX_BYTES = 256 * 2**20  # of an artifact: a replay buffer of gigabytes would hold up the last rows behind it
PACKAGES = ("rlgen", "agents", "generative")  # whose source files are the code of a run


class Artifacts:
    """Logs files of a run as wandb artifacts that name the run and its parent.

    Args:
        wandb: the library.
        wandb_run: its run, which takes them.
        run: whose files they are.
    """

    def __init__(self, wandb: Any, wandb_run: Any, run: Run) -> None:
        self._wandb, self._wandb_run, self._run = wandb, wandb_run, run

    def send_code(self) -> None:
        """Send the source files of all three packages; one version for all runs of the same code."""
        root = Path(__file__).resolve().parents[2]
        files = {
            str(path.relative_to(root)): path
            for package in PACKAGES
            for path in sorted((root / package).rglob("*"))
            if path.suffix in (".py", ".toml")
        }
        self._send("rlgen-code", "code", files, {"git_commit": self._run.info.get("git_commit")}, [])

    def send_results(self, exit_code: int) -> None:
        """Send the last and the best checkpoint and, of a run that has finished, its weights.

        At the end alone: earlier ones are pruned, and a resumed run sends its own.
        """
        run = self._run
        best = int(run.best["step"]) if run.best else 0
        for step in sorted({run.saved, best} - {0}):
            folder = checkpoint.directory(run.checkpoints, step)
            if not (folder / "manifest.json").is_file():
                continue
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            aliases = [f"step-{step}", *(["last"] if step == run.saved else []), *(["best"] if step == best else [])]
            files = {name: folder / name for name in ("state.pt", "manifest.json")}
            where = run.checkpoints / segments.FOLDER
            files |= {f"{where.name}/{name}": where / name for name in checkpoint.segments_of(folder)}
            about = {"step": step, "sha256": manifest["files"]["state.pt"]["sha256"]}
            self._send(f"{run.name}-checkpoint", "checkpoint", files, about | self._lineage(), aliases)
        weights = run.path / "weights.safetensors"
        if exit_code == 0 and weights.is_file():
            about = {"step": run.step, "sha256": digest(weights)["sha256"]} | self._lineage()
            self._send(f"{run.name}-weights", "model", {weights.name: weights}, about, [f"step-{run.step}"])

    def _lineage(self) -> dict[str, Any]:
        return {"run": self._run.name, "algo": self._run.config["algo"], "parent": self._run.info.get("parent")}

    def _send(self, name: str, kind: str, files: dict[str, Path], about: dict[str, Any], aliases: list[str]) -> None:
        """Log an artifact, from second names of the files: pruning or editing the first ones does not change it."""
        size = sum(path.stat().st_size for path in files.values())
        if size > MAX_BYTES:
            warn(f"wandb is not sent {name} ({size / 2**30:.1f} GiB); it stays in {self._run.path}", note=True)
            return
        artifact = self._wandb.Artifact(name, kind, metadata=about)
        own = f"{name}-{about['step']}" if "step" in about else name
        folder = Path(self._wandb_run.dir).resolve().parent / "artifacts" / own
        for label, path in files.items():
            copy = folder / label
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                if kind == "code":  # an editor may write into the file itself
                    raise OSError
                os.link(path, copy)  # no byte is copied
            except OSError:
                shutil.copyfile(path, copy)
            artifact.add_file(str(copy), name=label, policy="immutable", skip_cache=True)
        self._wandb_run.log_artifact(artifact, aliases=["latest", *aliases])
