"""What the headers of encoders and downscalers may hold: checked before a network is built of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from skyweave.downscale.settings import ModelSection
from skyweave.io.tensors import Part
from skyweave.prior.headers import ArchitectureHeader, GridHeader, StateTransformHeader

__all__ = ["CheckpointHeader", "DownscalerHeader", "EncoderFileHeader"]

Moment = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}){0,2}(\.\d+)?)?$", max_length=40)]
Channel = Annotated[int, Field(ge=0, le=4096)]
Cells = Annotated[int, Field(ge=1, le=2**20)]


class EncoderHeader(Part):
    """See `skyweave.downscale.models.encoder.TransferEncoder`."""

    kind: Literal["unet", "lstm", "convlstm"]
    days: Annotated[int, Field(ge=1, le=1000)]
    channels: Annotated[int, Field(ge=1, le=4096)]
    architecture: ArchitectureHeader
    levels: Literal["all", "last"]


class ChannelsHeader(Part):
    """See `skyweave.downscale.models.target_form.Channels`."""

    fine: Annotated[int, Field(ge=1, le=4096)]
    coarse: Annotated[int, Field(ge=1, le=4096)]
    lags: Annotated[int, Field(ge=1, le=1000)]
    static: Channel
    calendar: Channel
    shared: Annotated[list[Channel], Field(max_length=4096)]

    @model_validator(mode="after")
    def _known(self) -> ChannelsHeader:
        if len(self.shared) != self.fine or max(self.shared) >= self.coarse:
            raise ValueError(
                f"shared {self.shared!r:.60}: one of {self.coarse} coarse variables for each fine one"
            )
        return self


class CalendarHeader(Part):
    """See `skyweave.downscale.data.calendar.Calendar`."""

    first: Moment
    last: Moment
    hold: bool = True
    hourly: bool = False


class ScalerHeader(Part):
    """See `skyweave.downscale.data.scaling.Scaler`."""

    fine: StateTransformHeader
    coarse: StateTransformHeader


class ToldHeader(BaseModel):
    """What is told of a training run."""

    model_config = ConfigDict(extra="ignore", strict=True)

    epochs: int | None = None
    minutes: float | None = None
    ended: str | None = None
    loss: float | None = None
    best_epoch: int | None = None

    @model_validator(mode="after")
    def _whole(self) -> ToldHeader:
        told = (self.epochs, self.minutes, self.ended, self.loss, self.best_epoch)
        if any(value is None for value in told) and any(value is not None for value in told):
            raise ValueError(f"a training run is told by {', '.join(ToldHeader.model_fields)} together")
        return self


class ScoresHeader(BaseModel):
    """What is told of an encoder's scores."""

    model_config = ConfigDict(extra="ignore", strict=True)

    r2: float
    r2_persistence: float


class EncoderMetadata(ToldHeader):
    """What is told of an encoder."""

    scores: ScoresHeader | dict[str, float] = {}


class DownscalerMetadata(BaseModel):
    """What is told of a downscaler, so far as it is computed with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    variables: list[str] = []
    coarse_variables: list[str] = []
    area: str = ""
    season: str = ""
    grid: GridHeader | None = None
    training_days: list[str] = []
    split: dict[str, list[Annotated[list[Moment], Field(min_length=2, max_length=2)]]] = {}
    scaler: ScalerHeader | None = None
    calendar: CalendarHeader | None = None
    training: ToldHeader = ToldHeader()
    encoder: EncoderMetadata | None = None


class EncoderFileHeader(BaseModel):
    """The header of an encoder's file; further keys are left to those who know them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    encoder: EncoderHeader
    metadata: EncoderMetadata


class DownscalerHeader(BaseModel):
    """The header of a downscaler's file; further keys are left to those who know them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: Annotated[str, Field(max_length=100)]
    channels: ChannelsHeader
    model: Annotated[ModelSection, Field(strict=False)]
    encoder: EncoderHeader | None
    patch: Annotated[list[Cells], Field(min_length=2, max_length=2)]
    metadata: DownscalerMetadata


Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class ProgressHeader(Part):
    """See `skyweave.downscale.training.files.EpochProgress`."""

    step: Count
    elapsed: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    loss_sum: float
    loss_count: Count
    best_score: float | None
    best_step: Count
    epoch: Count
    rate: Annotated[float, Field(gt=0, le=1)]
    best_epoch: Count
    since_reduction: Count
    ended: Annotated[str, Field(max_length=1000)]
    history: list[dict[str, Number]]


class CheckpointHeader(BaseModel):
    """The header of the checkpoint of a downscaling run."""

    model_config = ConfigDict(extra="ignore", strict=True)

    progress: ProgressHeader
    config: dict[str, object]
    data: Annotated[str, Field(max_length=1000)]
