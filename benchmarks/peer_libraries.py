"""Other libraries' posterior samplers around skyweave's denoiser, for `peers.py`."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from merra2 import Case
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.posterior import problem as posterior
from skyweave.posterior.background import Background, bind
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.storage import LearntPrior

ERROR = 0.05
"""Standard deviation of the observation errors in normalised units."""
LOW, HIGH = 0.01, 80.0
"""Noise levels of every schedule but the analysis start's."""


@dataclass(eq=False)
class Passes:
    """How often the network was passed forward and backward."""

    evaluations: int = 0
    backward: int = 0


class _Count(torch.autograd.Function):
    """The identity, which counts when a gradient passes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, passes: Passes) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Passes], output: Tensor) -> None:
        ctx.passes = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.passes.backward += 1
        return gradient, None


@dataclass(eq=False)
class Counted:
    """A denoiser that counts its evaluations and the passes backward through it."""

    denoiser: Denoiser
    passes: Passes = field(default_factory=Passes)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.passes.evaluations += 1
        return self.denoiser(_Count.apply(x, self.passes), sigma)


@dataclass(eq=False)
class Problem:
    """One case with one kind of observation: as skyweave sees it, and as ``y = A x + N(0, ERROR^2)``.

    ``A`` is a dense matrix on the normalised state, which at these sizes is the fastest a peer can be given.
    """

    case: Case
    kind: str
    background: Background
    members: int
    A: Tensor
    y: Tensor

    @classmethod
    def of(cls, prior: LearntPrior, case: Case, kind: str, members: int, autocast: bool) -> Problem:
        background = bind(prior, case.grid, case.time, 1, autocast=autocast)
        background = replace(background, denoiser=Counted(background.denoiser))
        observed = case.observed[kind]
        zero = torch.zeros(1, *background.shape)
        slope = float(prior.transform.derivative(zero).mean())
        A = torch.from_numpy(observed.operator.jacobian(zero[0]).toarray()).float() / slope
        y = (observed.y - observed.operator(zero)[0]) / slope
        return cls(case, kind, background, members, A, y)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.A.T

    def adjoint(self, u: Tensor) -> Tensor:
        return (u @ self.A).reshape(len(u), *self.background.shape[1:])

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The prior on states ``(M, C, H, W)`` and a scalar noise level."""
        return self.background.denoiser(x[:, None], sigma)[:, 0]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.members, *self.background.shape[1:])


Run = Callable[[Problem], Tensor]


def skyweave_run(method: Method) -> Run:
    """Ours: the public sampler with a fresh solver for each case."""

    def run(problem: Problem) -> Tensor:
        posed = posterior.Problem(problem.background, problem.case.observed[problem.kind])
        noise = NoiseStream(problem.case.index, range(problem.members), [0])
        return sample_posterior(posed, noise, method)[:, 0]

    return run


def azula_run(
    guidance: str, steps: int, /, *, sampler: str = "", schedule: str = "ve", **options: Any
) -> Run:
    """azula's guidance around our denoiser, with its own schedules and samplers."""
    import azula.sample as samplers
    from azula.denoise import Denoiser as AzulaDenoiser
    from azula.denoise import DiracPosterior
    from azula.guidance import DiffPIRDenoiser, DPSSampler, MMPSDenoiser, PGDMSampler, TMPDenoiser
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import VESchedule, VPSchedule

    class Wrapped(AzulaDenoiser):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.problem = problem
            # sigma / alpha ends at HIGH in both.
            self.schedule = VESchedule(LOW, HIGH) if schedule == "ve" else VPSchedule(1 / HIGH, LOW)

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
            alpha, sigma = self.schedule(t)
            return DiracPosterior(mean=self.problem.denoise(x_t / alpha, sigma / alpha))

    def run(problem: Problem) -> Tensor:
        torch.manual_seed(problem.case.index)
        prior, A, y = Wrapped(problem), problem.forward, problem.y
        common = {"steps": steps, "silent": True}
        if guidance == "dps":
            chain = DPSSampler(prior, y, A, **options, **common)
        elif guidance == "pgdm":
            rest = dict(options)
            back = torch.linalg.pinv(problem.A, rtol=rest.pop("rtol"))
            inverse = lambda v: (v @ back.T).reshape(-1, *problem.shape[1:])  # noqa: E731
            chain = PGDMSampler(prior, y, A, inverse, **rest, **common)
        else:
            guided = {
                "mmps": lambda: MMPSDenoiser(prior, y, A, IsotropicCovariance(ERROR**2), **options),
                "tmpd": lambda: TMPDenoiser(prior, y, A, ERROR**2),
                "diffpir": lambda: DiffPIRDenoiser(prior, y, A, ERROR**2, solver="cg", **options),
            }[guidance]()
            name, order = sampler.split("-") if "-" in sampler else (sampler, None)
            extra = {"order": int(order)} if order else {}
            chain = getattr(samplers, f"{name}Sampler")(guided, **extra, **common)
        return chain(chain.init(problem.shape))

    return run


def deepinv_run(kind: str, steps: int, /, *, eta: float, **options: Any) -> Run:
    """deepinv's posterior diffusion around our denoiser: variance exploding, ancestral solver."""
    dinv = import_deepinv()
    kinds = {
        "moments": "MomentMatchingDataFidelity",
        "pigdm": "PiGDMDataFidelity",
        "dps": "DPSDataFidelity",
    }

    def run(problem: Problem) -> Tensor:
        torch.manual_seed(problem.case.index)

        class Wrapped(torch.nn.Module):
            def forward(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
                return problem.denoise(x, torch.as_tensor(sigma, dtype=torch.float32).flatten()[0])

        physics = dinv.physics.LinearPhysics(
            A=lambda x, **_: problem.forward(x),
            A_adjoint=lambda u, **_: problem.adjoint(u),
            noise_model=dinv.physics.GaussianNoise(ERROR),
        )
        model = dinv.sampling.PosteriorDiffusion(
            data_fidelity=getattr(dinv.sampling, kinds[kind])(**options),
            denoiser=Wrapped(),
            sde=dinv.sampling.VarianceExplodingDiffusion(sigma_min=LOW, sigma_max=HIGH),
            solver=dinv.sampling.AncestralSolver(timesteps=torch.linspace(1, 0, steps), eta=eta),
            dtype=torch.float32,
            minus_one_one=False,
        )
        y = problem.y.expand(problem.members, -1)
        return model(y, physics, x_init=problem.shape).float()

    return run


class _Absent(types.ModuleType):
    """Stands for an image library that deepinv imports and that nothing here calls."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_deepinv() -> Any:
    """deepinv, without the image libraries (torchvision and others) that it imports at once."""
    for _ in range(40):
        try:
            importlib.import_module("deepinv.sampling")
            return importlib.import_module("deepinv")
        except ModuleNotFoundError as error:
            name = str(error.name)
            if name.split(".")[0] in ("deepinv", "torch"):
                raise
            module = sys.modules[name] = _Absent(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
    raise ImportError("deepinv asks for too many libraries")
