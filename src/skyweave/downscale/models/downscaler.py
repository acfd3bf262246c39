"""What all downscalers share: their inputs (Eq. 2), the frozen encoder, the form of the target, and one protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from skyweave.diffusion.noise import NoiseStream
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.target_form import Channels, SampleLike, TargetForm
from skyweave.downscale.settings import ModelSection
from skyweave.errors import SkyweaveError

__all__ = ["Domain", "Downscaler", "Noise", "OnePatch", "Sampling", "TrainingSample"]

PatchFunction = Callable[[Tensor, Tensor], Tensor]
"""Maps fields ``(N, c, h, w)`` and what is known there ``(N, K, h, w)`` to fields."""


class TrainingSample(SampleLike, Protocol):
    """A sample with the day that is to be predicted."""

    @property
    def target(self) -> Tensor: ...


class Noise(Protocol):
    """White noise addressed by member, day and step, as `skyweave.diffusion.noise.NoiseStream` gives it."""

    @property
    def members(self) -> Sequence[int]: ...

    @property
    def times(self) -> Sequence[int]: ...

    def normal(self, step: int, shape: Sequence[int]) -> Tensor: ...


class Domain(Protocol):
    """Where a function of patches is evaluated: a patch by itself, or a field whose patches are blended.

    Called with the function and fields ``(M, B, c, H / a, W / a)`` it returns fields ``(M, B, c', H / b, W / b)``; `a`
    and `b` are ``given`` and ``made``, cells along a cell of what the function takes and returns.
    """

    shape: tuple[int, int]

    def __call__(
        self, function: PatchFunction, fields: Tensor, *, given: int = 1, made: int = 1
    ) -> Tensor: ...


class OnePatch:
    """Patches by themselves.

    Args:
        known: what the network is given, ``(B, K, h, w)``.
    """

    def __init__(self, known: Tensor) -> None:
        self.known = known
        self.shape = (int(known.shape[-2]), int(known.shape[-1]))

    def __call__(self, function: PatchFunction, fields: Tensor, *, given: int = 1, made: int = 1) -> Tensor:
        members = fields.shape[0]
        known = self.known.expand(members, *self.known.shape).flatten(0, 1)
        return function(fields.flatten(0, 1), known).unflatten(0, (members, -1))


class Sampling(Protocol):
    """How members are drawn: the sampler by name and its steps."""

    @property
    def sampler(self) -> str: ...

    @property
    def steps(self) -> int: ...


class Downscaler(nn.Module, ABC):
    r"""Predicts the fine day ``y_{t+1}`` from everything that is known before it.

    .. math:: y_{t+1} = f_\Theta(x_{t+1}, x_{ele}, x_{other}, \phi_\psi(y_{t-T_{lag}+1:t})) \quad\text{(Eq. 2)}

    A subclass gives `loss` and `draw`. The encoder's weights stay what they were in pretraining unless
    ``features = "scratch"``.

    Args:
        channels: of the samples.
        config: what it is made of.
        encoder: pretrained (it is frozen here), or new for "scratch"; needed for these two alone.

    Raises:
        SkyweaveError: an encoder that is missing, or made for other samples.

    Reference: downscaling paper, section 2.2.2, Eq. 2.
    """

    name: ClassVar[str]
    generative: ClassVar[bool] = True
    encoder_kind: ClassVar[str] = "unet"
    nearest: ClassVar[bool] = False
    """Whether patches are put together by taking each cell from the nearest one, instead of blending them."""
    factor: ClassVar[int] = 1
    """Cells along a cell of the space in which it samples; patches, strides and days are multiples of it."""

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__()
        self.channels, self.config = channels, config
        self.target_form = TargetForm(
            config.target, channels.fine, channels.coarse, config.features != "none"
        )
        self.encoder = encoder if config.features in ("transferred", "scratch") else None
        histories = 2 if config.coarse_lags else 1
        if config.features in ("transferred", "scratch"):
            self._check_encoder(encoder)
            assert encoder is not None
            if config.features == "transferred":
                encoder.freeze()
            count = histories * encoder.features_count
        else:
            lags = channels.lags * channels.fine
            count = (lags if config.features == "lags" else 0) + (lags if config.coarse_lags else 0)
        # Features are many; the reduction is computed once a day, not at every step of a sampler.
        self.project = nn.Conv2d(count, config.projection, 1) if count else None
        self.known_count = (
            channels.coarse
            + channels.static
            + channels.calendar
            + (channels.fine if config.target == "departure" else 0)
            + (config.projection if count else 0)
        )

    def _check_encoder(self, encoder: TransferEncoder | None) -> None:
        wanted = (self.channels.lags, self.channels.fine)
        if encoder is None:
            raise SkyweaveError(
                f"features {self.config.features!r} need an encoder; pretrain one, or take features 'lags' or 'none'"
            )
        if (encoder.days, encoder.channels) != wanted:
            raise SkyweaveError(
                f"the encoder takes {encoder.days} days of {encoder.channels} variables, the samples have {wanted[0]} "
                f"of {wanted[1]}; pretrain one for them"
            )

    def train(self, mode: bool = True) -> Downscaler:
        """As any module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None and self.config.features == "transferred":
            self.encoder.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.target_form.offset.device

    def trainable(self) -> list[nn.Parameter]:
        """Parameters that training changes, ``P_train`` of Eq. 3."""
        return [p for p in self.parameters() if p.requires_grad]

    def known(self, sample: SampleLike) -> Tensor:
        """Everything the network is given beside noise, ``(B, K, H, W)``."""
        size = sample.driver.shape[-2:]
        calendar = sample.calendar[:, :, None, None].expand(-1, -1, *size)
        parts = [sample.driver, sample.static, calendar.to(sample.driver)]
        if self.config.target == "departure":
            parts.append(self.target_form.estimate(sample))
        history = self._history(sample)
        if self.project is not None and history is not None:
            parts.append(self.project(history))
        return torch.cat(parts, dim=1)

    def _history(self, sample: SampleLike) -> Tensor | None:
        coarse = sample.coarse_lags[:, :, list(self.channels.shared)]
        windows = [sample.lags] if self.config.features != "none" else []
        windows += [coarse] if self.config.coarse_lags else []
        if not windows:
            return None
        if self.encoder is None:
            return torch.cat([days.flatten(1, 2) for days in windows], dim=1)
        if self.config.features == "transferred":
            with torch.no_grad():
                return torch.cat([self.encoder.features(days) for days in windows], dim=1)
        return torch.cat([self.encoder.features(days) for days in windows], dim=1)

    def prepare(self, pairs: Iterable[tuple[SampleLike, Tensor]]) -> None:
        """Fit what is not learnt by descent, on samples of training days and their targets."""
        self.target_form.fit(pairs)

    def squash(self, raw: Tensor) -> Tensor:
        """The network's output in the range of the target's form."""
        return torch.sigmoid(raw) if self.config.output == "sigmoid" else raw

    @abstractmethod
    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Training loss of a batch; all its randomness comes from `generator`."""

    @abstractmethod
    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """Members in the form of the target, ``(M, B, C, H, W)``."""

    @torch.no_grad()
    def predict(
        self,
        sample: SampleLike,
        *,
        members: int = 1,
        seed: int = 0,
        noise: Noise | None = None,
        sampling: Sampling | None = None,
    ) -> Tensor:
        """Members of the fine day of each sample, taken as one patch.

        Args:
            sample: batch of B.
            members: number M.
            seed: of noise addressed by (member, place in the batch).
            noise: another stream, instead of these.
            sampling: sampler and steps; the default ones are those of `InferenceSection`.

        Returns:
            Scaled fields ``(B, M, C, H, W)``.
        """
        from skyweave.downscale.settings import InferenceSection

        known = self.known(sample)
        noise = noise or NoiseStream(seed, range(members), range(len(known)))
        drawn = self.draw(OnePatch(known), noise, sampling or InferenceSection())
        return self.target_form.inverse(drawn.transpose(0, 1), sample)
