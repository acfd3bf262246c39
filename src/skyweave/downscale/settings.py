"""Settings of models, training and inference, and the two presets: what trains well, and what the paper did."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from skyweave.config import Section
from skyweave.diffusion.network import LIMITS, Architecture
from skyweave.downscale.inference import InferenceSection
from skyweave.limits import MOST
from skyweave.prior.config import Multipliers

__all__ = [
    "PRESETS", "EncoderSection", "InferenceSection", "ModelSection", "NetworkSection", "TrainingSection", "preset",
]  # fmt: skip

PresetName = Literal["default", "paper"]
Device = Literal["cpu", "cuda", "auto"]


class NetworkSection(Section):
    """Size of a U-Net: channels at the finest level, multiples of them per level, residual blocks per level."""

    base: int = Field(default=16, ge=4, le=LIMITS["base"][1])
    multipliers: Multipliers = (1, 2, 2)
    blocks: int = Field(default=1, ge=1, le=LIMITS["blocks"][1])
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def architecture(self) -> Architecture:
        """As the prior's network takes it; statistics stay within a cell, so that patches of any size agree."""
        return Architecture(
            self.base, self.multipliers, self.blocks, dropout=self.dropout, norm="cell", embedding=2
        )


class TrainingSection(Section):
    """How a network is trained.

    An epoch is a pass over all patches, or `steps_per_epoch` random batches. `plateau` and `patience` are epochs
    without improvement of the train-validation loss after which the rate is multiplied by `factor`, and after which
    training ends. With `anneal` the rate also falls as a cosine over the epochs or `max_minutes`, whichever ends
    first. `weight_decay` is lambda_wd of Eq. 3. `device` "auto" is a GPU where there is one.
    """

    lr: float = Field(default=2e-3, gt=0)
    epochs: int = Field(default=60, ge=1, le=MOST["training_steps"])
    steps_per_epoch: int | None = Field(default=100, ge=1, le=MOST["training_steps"])
    batch: int = Field(default=32, ge=1, le=MOST["training_steps"])
    weight_decay: float = Field(default=1e-6, ge=0)
    plateau: int = Field(default=8, ge=1)
    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=20, ge=1)
    warmup: int = Field(default=50, ge=0, description="steps")
    anneal: bool = True
    clip: float | None = Field(default=1.0, gt=0)
    ema_half_life: float | None = Field(default=150.0, gt=0, description="steps")
    validation_patches: int = Field(default=256, ge=1, le=MOST["training_steps"])
    max_minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, le=MOST["seed"])
    device: Device = "cpu"


class EncoderSection(Section):
    """The small model; `kind` "auto" is the one that goes with the downscaler."""

    kind: Literal["auto", "unet", "lstm", "convlstm"] = "auto"
    network: NetworkSection = NetworkSection()
    levels: Literal["all", "last"] = "all"
    loss: Literal["mse", "mae"] = "mse"
    training: TrainingSection = TrainingSection(epochs=30)


class ModelSection(Section):
    """What a downscaler is made of.

    `features` is what it knows of the fine days before: "transferred" from the frozen encoder, from the same encoder
    trained along ("scratch"), the days themselves ("lags"), or nothing ("none"). `coarse_lags` adds the same of the
    coarse days. `target` is the form of `skyweave.downscale.models.target_form.TargetForm`.
    """

    network: NetworkSection = NetworkSection()
    features: Literal["transferred", "scratch", "lags", "none"] = "transferred"
    coarse_lags: bool = False
    projection: int = Field(
        default=16, ge=1, le=4096, description="channels that the features are reduced to"
    )
    target: Literal["departure", "standard", "unit"] = "departure"
    output: Literal["linear", "sigmoid"] = "linear"
    loss: Literal["mse", "mae"] = "mse"
    formulation: Literal["edm", "ddpm"] = "edm"
    timesteps: int = Field(
        default=1000, ge=2, le=MOST["lead_times"], description="of the squared-cosine schedule"
    )
    p_mean: float = -0.4
    p_std: float = Field(default=1.5, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    sigma_min: float = Field(default=0.02, gt=0)
    latent: int = Field(
        default=4, ge=1, le=1024, description="channels of a variational model's latent field"
    )
    kl_weight: float = Field(default=1.0, gt=0)
    training: TrainingSection = TrainingSection()


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {"encoder": {"training": {"epochs": 30}}, "model": {}, "inference": {}},
    "paper": {
        # Section 2.3: Adam, 1e-6, 30 epochs, MAE. Not in the paper: batch, decay, patience, factor, network sizes.
        "encoder": {
            "levels": "last",
            "loss": "mae",
            "training": {
                "lr": 1e-6, "epochs": 30, "steps_per_epoch": None, "warmup": 0, "anneal": False, "clip": None,
                "ema_half_life": None, "plateau": 3, "patience": 8,
            },
        },
        "model": {
            "target": "unit",
            "output": "sigmoid",
            "loss": "mae",
            "formulation": "ddpm",
            "training": {
                "lr": 1e-6, "epochs": 30, "steps_per_epoch": None, "warmup": 0, "anneal": False, "clip": None,
                "ema_half_life": None, "plateau": 3, "patience": 8,
            },
        },
        # Section 2.4: stride 2; the halo is not in the paper.
        "inference": {
            "stride": 2, "halo": 2, "window": "paper", "blend": "patches", "sampler": "ddpm", "steps": 1000,
        },
    },
}  # fmt: skip


def preset(name: str, section: str, given: dict[str, Any]) -> dict[str, Any]:
    """Values of a section: those given, else those of the preset, section within section."""
    return merge(PRESETS[name][section], given)


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, dictionaries within dictionaries merged."""
    out = dict(under)
    for key, value in over.items():
        inside = out.get(key)
        out[key] = merge(inside, value) if isinstance(inside, dict) and isinstance(value, dict) else value
    return out
