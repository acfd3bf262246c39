"""One model's data: the record of an area, the days of a season, and what was fitted on its training days."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyweave.downscale.config import DownscaleConfig, Season
from skyweave.downscale.data.opening import open_record
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.splits import Split, split_days

__all__ = ["Task", "prepare_task"]


@dataclass(frozen=True, eq=False)
class Task:
    """Data of one area and season.

    Args:
        area, season: whose.
        record: physical fields of both records.
        split: the days.
        samples: scaled tensors; their scaler and calendar were fitted on ``split.training``.
    """

    area: str
    season: Season
    record: Record
    split: Split
    samples: Samples

    @property
    def name(self) -> str:
        """Of a folder."""
        return f"{self.area}-{self.season}"

    @property
    def digest(self) -> str:
        """Of everything that the samples depend on beside the files themselves."""
        split = {k: v.tolist() for k, v in vars(self.split).items() if isinstance(v, np.ndarray)}
        parts: dict[str, Any] = {
            "area": self.area,
            "season": self.season,
            "grid": self.record.grid.to_dict(),
            "coarse_grid": self.record.coarse.grid.to_dict(),
            "variables": [self.record.coarse.names, self.record.fine.names, self.record.shared],
            "days": [str(self.record.days[0]), str(self.record.days[-1]), int(self.record.step.astype(int))],
            "scaler": self.samples.scaler.to_dict(),
            "calendar": self.samples.calendar.to_dict(),
            "lags": self.samples.lags,
            "split": split,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def prepare_task(config: DownscaleConfig, area: str, season: Season, record: Record | None = None) -> Task:
    """Open the record of an area, divide the days of a season, fit the scaling on its training days.

    Args:
        config: of the downscaling.
        area, season: of `DownscaleConfig.tasks`.
        record: of the area where it is open already, such as for its other seasons.

    Raises:
        SkyweaveError: see `open_record`, `split_days` and `Scaler.fit`.
    """
    record = open_record(config, area) if record is None else record
    split = split_days(
        record, season, config.lags, config.split, overlap=config.overlap, pretrain=config.pretrain
    )
    memory = config.memory_gb * 1e9
    scaler = Scaler.fit(record, split.training, config.transform, config.floor, memory)
    calendar = Calendar.fit(record.days[split.training], hold=config.years_beyond == "hold", step=record.step)
    fill = config.split.filled
    samples = Samples(record, scaler, calendar, config.lags, fill_days=fill, memory_bytes=memory)
    return Task(area, season, record, split, samples)
