"""Means of metrics between two rows, summed on their device, so that no update waits for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlgen.core.batch import Row
from rlgen.core.form import check_form


class Sums:
    """Sums of metrics on their device, folded in chunks of one size, so that a save in between changes no bit."""

    CHUNK = 256  # updates kept before they are folded into a sum

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}  # an update may not always return the same names
        self._finite: Tensor | None = None  # whether the sums of the last chunk were, on its way to the CPU

    def add(self, metrics: dict[str, Tensor]) -> bool:
        """Count one update's metrics in: 0-d tensors. Returns whether a chunk has just become full."""
        if not metrics:
            return False
        names = tuple(metrics)
        group = self._groups.get(names)
        if group is None:
            group = self._groups[names] = _Group()
        row = metrics.keep() if isinstance(metrics, Row) else None
        if row is None:
            row = torch.stack(tuple(metrics.values()))  # [K]  a copy: a captured graph writes its outputs again
        group.rows.append(row)
        group.count += 1
        if len(group.rows) == self.CHUNK:
            group.total, group.rows = group.sum(), []
            return True
        return False

    def were_finite(self) -> bool:
        """Whether all sums were finite at the last call; a chunk later, nothing waits for the answer."""
        before, totals = self._finite, [group.total for group in self._groups.values() if group.total is not None]
        device = totals[-1].device
        finite = torch.cat([total.to(device) for total in totals]).isfinite().all()
        self._finite = finite.to("cpu", non_blocking=True)
        return before is None or bool(before)

    def means(self) -> dict[str, float]:
        """Mean of every name, in one transfer to the host."""
        if not self._groups:
            return {}
        sums = [group.sum() for group in self._groups.values()]
        values = iter(torch.cat([value.to(sums[-1].device) for value in sums]).tolist())
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, group in self._groups.items():
            for name in names:
                totals[name] = totals.get(name, 0.0) + next(values)
                counts[name] = counts.get(name, 0) + group.count
        return {name: total / counts[name] for name, total in totals.items()}

    def state_dict(self) -> list[dict[str, Any]]:
        """The sums, and the updates that are not folded yet."""
        return [
            {
                "names": list(names),
                "count": group.count,
                "total": group.total,
                "rows": torch.stack(group.rows) if group.rows else None,
            }
            for names, group in self._groups.items()
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Put back what `state_dict` returned.

        Raises:
            ValueError: it is something else.
        """
        one = {"names": [""], "count": 0, "total": torch.zeros(1, dtype=torch.float64), "rows": torch.zeros(1, 1)}
        for item in state:
            known = {name: value for name, value in one.items() if item[name] is not None}
            check_form(item, known, "sums")
            if not all(item[name].isfinite().all() for name in ("total", "rows") if name in known):
                raise ValueError("sums of metrics are not finite")
            sizes = [item[name].shape[-1] for name in ("total", "rows") if name in known]
            if not sizes or set(sizes) != {len(item["names"])} or item["count"] < 1:
                raise ValueError(f"sums of {len(item['names'])} metrics are {sizes} numbers of {item['count']} updates")
        self._groups = {}
        for item in state:
            group = self._groups[tuple(item["names"])] = _Group()
            group.count, group.total = item["count"], item["total"]
            group.rows = list(item["rows"].unbind()) if item["rows"] is not None else []


class _Group:
    """Rows that hold the same names, and the sum of those already folded."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None  # [K] float64
        self.rows: list[Tensor] = []  # each [K]

    def sum(self) -> Tensor:
        if not self.rows:
            assert self.total is not None
            return self.total
        device = self.rows[-1].device  # rows from a checkpoint are on the CPU
        if self.rows[0].device != device:
            self.rows = [row.to(device) for row in self.rows]
        total = torch.stack(self.rows).double().sum(0)  # [K]
        return total if self.total is None else total + self.total.to(device)
