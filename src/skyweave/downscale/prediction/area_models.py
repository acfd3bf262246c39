"""The trained models of an area, one for each season, and one day of the fine record from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.downscale.config import SEASONS, DownscaleConfig
from skyweave.downscale.data.calendar import season_of
from skyweave.downscale.data.opening import open_record
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.splits import Split, check_days, days_told, split_days
from skyweave.downscale.prediction.stitching import predict_fields
from skyweave.downscale.settings import InferenceSection
from skyweave.downscale.storage import TrainedDownscaler, model_path, open_downscaler
from skyweave.errors import SkyweaveError
from skyweave.finite import check_channels
from skyweave.grid import Grid
from skyweave.learn.processes import usable_device

__all__ = ["AreaModels", "MemberNoise", "day_identity"]

Fields = NDArray[np.float32]


def day_identity(day: np.datetime64) -> int:
    """The number under which a day's noise is drawn: seconds since 1970."""
    return int(day.astype("datetime64[s]").astype(np.int64))


@dataclass(frozen=True)
class MemberNoise:
    """Noise of members that stand in the batch, each with a history of its own: ``(1, M, ...)``.

    Args:
        stream: of M members and one day.
    """

    stream: NoiseStream

    @property
    def members(self) -> Sequence[int]:
        return [0]

    @property
    def times(self) -> Sequence[int]:
        return list(self.stream.members)

    def normal(self, step: int, shape: Sequence[int]) -> Tensor:
        return self.stream.normal(step, shape).transpose(0, 1)


class AreaModels:
    """Models of an area by season, with the scaling each was trained with.

    Args:
        config: of the downscaling; ``config.out`` holds the models.
        area: one of its areas.
        model: name of the downscaler, that of the configuration by default.
        record: of the area, where it is open already.

    Raises:
        SkyweaveError: no trained model, or one made for other variables or another grid.
    """

    def __init__(
        self, config: DownscaleConfig, area: str, model: str | None = None, record: Record | None = None
    ) -> None:
        self.config, self.area = config, area
        self.paths: dict[str, Path] = {
            season: model_path(config, area, season, model) for season in config.seasons
        }
        self.trained: dict[str, TrainedDownscaler] = {
            season: open_downscaler(path) for season, path in self.paths.items() if path.exists()
        }
        if not self.trained:
            raise SkyweaveError(
                f"no trained model of area {area!r}: none of {', '.join(map(str, self.paths.values()))} exists; "
                "run `skyweave downscale fit` first"
            )
        self.record = open_record(config, area) if record is None else record
        self._samples: dict[str, Samples] = {}
        for season, trained in self.trained.items():
            self._check(self.paths[season], trained)

    def _check(self, path: object, trained: TrainedDownscaler) -> None:
        meta, record = trained.metadata, self.record
        for what, theirs, ours in (
            ("fine variables", meta["variables"], list(record.fine.names)),
            ("coarse variables", meta["coarse_variables"], list(record.coarse.names)),
        ):
            if theirs != ours:
                raise SkyweaveError(f"{path}: trained with {what} {theirs}, the records have {ours}")
        grid = Grid.from_dict(meta["grid"])
        if not grid.same_as(record.grid):
            raise SkyweaveError(
                f"{path}: trained on {grid.describe()}, the fine record has {record.grid.describe()}"
            )

    @property
    def generative(self) -> bool:
        """Whether members differ."""
        return any(t.model.generative for t in self.trained.values())

    def fingerprint(self) -> list[str]:
        """Of all models."""
        return [self.trained[season].fingerprint() for season in sorted(self.trained)]

    def target_days(self, days: str) -> NDArray[np.int64]:
        """Indices of the "test" or "validation" days of all seasons that have a model, in order.

        They are those that the files of the models tell; of older files, which do not, those of the configuration, if
        it has the same training days.

        Raises:
            SkyweaveError: another word, days that the record has not, or other training days.
        """
        config, parts = self.config, []
        for season in config.seasons:
            if season not in self.trained:
                continue
            told = self.trained[season].metadata.get("split")
            if told and days in ("test", "validation"):
                parts.append(days_told(self.record, told[days]))
                continue
            split = split_days(
                self.record,
                season,
                config.lags,
                config.split,
                overlap=config.overlap,
                pretrain=config.pretrain,
            )
            parts.append(split.named(days))
            self.check_days(season, split)
        return np.sort(np.concatenate(parts))

    def check_days(self, season: str, split: Split) -> None:
        """Refuse days that are not those that the model of a season was trained by; see `check_days` of splits."""
        check_days(self.trained[season].metadata, split, self.record, self.paths[season])

    def season(self, index: int) -> str:
        """Key of the model of a day."""
        if "all" in self.config.seasons:
            return "all"
        return SEASONS[int(season_of(self.record.days[[index]])[0])]

    def without_model(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those days whose season has no model."""
        return np.array([d for d in days if self.season(int(d)) not in self.trained], np.int64)

    def samples(self, season: str) -> Samples:
        """Samples scaled as the season's model knows them."""
        if season not in self._samples:
            meta, config = self.trained[season].metadata, self.config
            self._samples[season] = Samples(
                self.record,
                Scaler.from_dict(meta["scaler"]),
                Calendar(**meta["calendar"]),
                self.trained[season].model.channels.lags,
                fill_days=config.split.filled,
                memory_bytes=config.memory_gb * 1e9 / len(self.trained),
            )
        return self._samples[season]

    def day(
        self,
        index: int,
        members: Sequence[int],
        settings: InferenceSection,
        lags: Fields | None = None,
    ) -> Fields:
        """Members of one fine day.

        Args:
            index: of the day among ``record.days``.
            members: their numbers; of a deterministic model the first alone is computed, and repeated, unless each
                has its own lags.
            settings: of inference; its ``seed`` is that of the noise.
            lags: physical fine fields of the days before, one set for each member, ``(M, T_lag, C, H, W)``; the
                true ones by default.

        Returns:
            ``(M, C, H, W)``, physical units.

        Raises:
            SkyweaveError: no model of the day's season, or values that are not finite, with day and variable.
        """
        season, device = self.season(index), usable_device(settings.device)
        if season not in self.trained:
            raise SkyweaveError(f"area {self.area!r} has no model of {season}, the season of day {index}")
        trained, samples = self.trained[season], self.samples(season)
        trained.model.to(device)
        noise = NoiseStream(settings.seed, list(members), [day_identity(self.record.days[index])])
        if lags is None:
            sample = samples.sample([index]).to(device)
            drawn = predict_fields(trained.model, sample, noise, settings, trained.patch)[0]
        else:
            scaled = samples.scaler.fine.forward(torch.from_numpy(lags))
            one = samples.sample([index], lags=scaled[:1])
            count = len(lags)
            wide = {k: v.expand(count, *v.shape[1:]) for k, v in vars(one).items()}
            sample = replace(one, **(wide | {"lags": scaled})).to(device)
            drawn = predict_fields(trained.model, sample, MemberNoise(noise), settings, trained.patch)[:, 0]
        fields = samples.scaler.inverse(drawn.cpu())
        check_channels(
            fields, self.record.fine.names, f"the day that the downscaler of area {self.area!r}, {season}, predicts",
            where=f"on {self.record.days[index]!s:.16}",
        )  # fmt: skip
        return fields.numpy()
