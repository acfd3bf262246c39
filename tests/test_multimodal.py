"""The multimodal paper's likelihood and sampler: constants by source, equal to plain guidance where these are equal."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.posterior.background import Background
from skyweave.posterior.guidance import GUIDANCE, MultimodalGuidance, SDAGuidance
from skyweave.posterior.methods import find_method, method_of, with_options
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import Method, sample_posterior
from source_cases import STD, gaussian, observed_by, sources_of, truth_of

PRIOR = gaussian(16)
LEVEL = torch.tensor(0.7)


def segment(weights=(1.0, 1.0), **settings):
    truth = truth_of(PRIOR, 1, 0)
    given = sources_of(truth, ships=20, share=0.2, **settings)
    given = [replace(o, weight=w) for o, w in zip(given, weights, strict=True)]
    return observed_by(truth, given).segment(0, 1)


def noisy(members=3, seed=1):
    return torch.randn(members, *PRIOR.shape, generator=torch.Generator().manual_seed(seed))


def change(observed, **options):
    return MultimodalGuidance(Problem(PRIOR, observed), **options).parts(noisy(), LEVEL)[1]


@pytest.mark.parametrize("half", [True, False])
def test_equal_settings_give_what_plain_sda_gives(half):
    observed = segment()
    plain = SDAGuidance(Problem(PRIOR, observed), gamma=0.03 * STD**2, half=half)(noisy(), LEVEL)
    own = MultimodalGuidance(Problem(PRIOR, observed), sigma_y="stated", gamma=0.03, half=half)(
        noisy(), LEVEL
    )
    torch.testing.assert_close(own, plain, atol=1e-5, rtol=1e-5)


def test_stated_errors_and_the_same_variance_in_normalised_units_are_one():
    observed = segment(stated=(0.4, 0.4))
    by_number = change(observed, sigma_y=(0.4 / STD) ** 2, gamma=0.01)
    torch.testing.assert_close(
        by_number, change(observed, sigma_y="stated", gamma=0.01), atol=1e-5, rtol=1e-4
    )


def test_the_score_is_the_sum_over_sources_with_the_constants_of_each():
    observed = segment()
    constants = {"sigma_y": {"satellite": 0.2, "ships": 0.03}, "gamma": {"satellite": 0.01, "ships": 0.002}}
    both = change(observed, **constants)
    parts = []
    for number, name in enumerate(("satellite", "ships")):
        alone = observed.take(np.flatnonzero(observed.source == number))
        own = {key: values[name] for key, values in constants.items()}
        parts.append(change(alone, **own))
    torch.testing.assert_close(both, parts[0] + parts[1], atol=1e-5, rtol=1e-4)
    assert float(parts[0].norm()) > 0
    assert float(parts[1].norm()) > 0


def test_lambda_multiplies_the_score_of_its_source():
    """Equation 14: lambda stands before the whole term, growth with the noise level included."""
    plain, doubled = segment(), segment(weights=(1.0, 2.0))
    constants = {"sigma_y": 0.05, "gamma": 0.01}
    ships = plain.take(np.flatnonzero(plain.source == 1))
    expected = change(plain, **constants) + change(ships, **constants)
    torch.testing.assert_close(change(doubled, **constants), expected, atol=1e-5, rtol=1e-4)


def test_the_paper_s_constants_go_by_the_kind_of_source():
    guided = MultimodalGuidance(Problem(PRIOR, segment()))
    number = torch.from_numpy(segment().source)
    for kind, sigma_y, gamma in ((0, 1e-1, 5e-3), (1, 5e-4, 1e-5)):
        assert guided.own[number == kind].unique().tolist() == pytest.approx([sigma_y])
        assert guided.growth[number == kind].unique().tolist() == pytest.approx([gamma])
    assert not guided.half
    assert guided.guidance_scale == 1.0
    other = MultimodalGuidance(Problem(PRIOR, segment()), sigma_y={"points": 0.3}).own
    assert other[number == 1].unique().tolist() == pytest.approx([0.3])
    assert other[number == 0].unique().tolist() == pytest.approx([1e-1])


def test_a_name_stands_for_its_numbered_namesakes():
    truth = truth_of(PRIOR, 1, 0)
    given = [o.renamed("LR") for o in sources_of(truth, ships=20)]
    observed = observed_by(truth, given).segment(0, 1)
    assert [s.name for s in observed.sources] == ["LR", "LR (2)"]
    guided = MultimodalGuidance(Problem(PRIOR, observed), sigma_y={"LR": 0.2, "LR (2)": 0.4})
    assert guided.own[observed.source == 0].unique().tolist() == pytest.approx([0.2])
    assert guided.own[observed.source == 1].unique().tolist() == pytest.approx([0.4])
    both = MultimodalGuidance(Problem(PRIOR, observed), sigma_y={"LR": 0.2}).own
    assert both.unique().tolist() == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"gamma": {"shipss": 1e-3}}, "did you mean 'ships'"),
        ({"sigma_y": {"ships": -1.0}}, "positive variance"),
        ({"sigma_y": 0.0}, "positive variance"),
        ({"gamma": {"ships": "stated"}}, "zero or greater"),
        ({"sigma_y": "sttated"}, '"stated"'),
    ],
)
def test_wrong_constants_are_named(options, word):
    with pytest.raises(SkyweaveError, match=word):
        MultimodalGuidance(Problem(PRIOR, segment()), **options)


def test_clipping_bounds_the_likelihood_s_step():
    observed = segment(stated=(0.01, 0.01))
    guided = MultimodalGuidance(Problem(PRIOR, observed), sigma_y=1e-6, gamma=0.0, clip=0.5)
    x_hat, bounded = guided.parts(noisy(), LEVEL)
    free = change(observed, sigma_y=1e-6, gamma=0.0)
    norms = bounded.flatten(1).norm(dim=1) / x_hat.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((3,), 0.5))
    # Only the length changes.
    torch.testing.assert_close(bounded / bounded.norm(), free / free.norm(), atol=0.05, rtol=0.2)


def test_the_preset_is_algorithm_1_with_the_paper_s_start_and_churn():
    method = find_method("multimodal")
    assert (method.guidance, method.sampler, method.start) == ("multimodal", "heun", "noise")
    assert (method.sigma_max, method.sigma_min, method.rho) == (80.0, 0.002, 7.0)
    assert method.evaluations() == 35
    chosen = method_of("multimodal", None, 20, {"gamma": {"ships": 0.1}, "guided_corrector": False})
    assert chosen.guidance_options == {"gamma": {"ships": 0.1}}
    assert chosen.sampler_options["guided_corrector"] is False
    assert chosen.sampler_options["churn"] == 40.0
    assert chosen.evaluations() <= 20
    # Another sampler has no churn.
    assert method_of("multimodal", "dpm++2m", None, None).sampler_options == {}


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [
        (Method(), {"gamma": 1.0}, "unknown to covariance"),
        (Method(guidance="sda"), {"gama": 1.0}, "did you mean 'gamma'"),
        (Method(sampler="daps", steps=250), {"clip": 1.0}, "unknown"),
    ],
)
def test_options_that_no_part_knows_are_refused(method, options, word):
    with pytest.raises(SkyweaveError, match=word):
        with_options(method, options)


def test_options_reach_the_schedule():
    assert with_options(Method(), {"sigma_max": 50.0, "start": "noise"}).sigma_max == 50.0
    with pytest.raises(SkyweaveError, match="multimodl"):
        find_method("multimodl")


def test_a_corrector_without_likelihood_saves_backward_passes_and_no_evaluation(monkeypatch):
    observed = segment()
    counts = {"evaluations": 0, "backward": 0}
    plain_parts = SDAGuidance.parts

    def counting(x, sigma):
        counts["evaluations"] += 1
        return PRIOR(x, sigma)

    def parts(self, x_sigma, sigma):
        counts["backward"] += 1
        return plain_parts(self, x_sigma, sigma)

    monkeypatch.setattr(SDAGuidance, "parts", parts)
    for guided_corrector, backward in ((True, 35), (False, 18)):
        counts.update(evaluations=0, backward=0)
        options = {"guided_corrector": guided_corrector, "sigma_y": 0.5, "gamma": 0.05}
        method = with_options(find_method("multimodal"), options)
        problem = Problem(Background(counting, PRIOR.covariance, PRIOR.shape), observed)
        sample_posterior(problem, NoiseStream(0, [0], [0]), method)
        assert counts == {"evaluations": method.evaluations(), "backward": backward}
        assert method.evaluations() == 35


def test_without_likelihood_both_correctors_sample_the_prior():
    observed, drawn = segment(), []
    for guided_corrector in (True, False):
        options = {"guided_corrector": guided_corrector, "guidance_scale": 0.0}
        method = with_options(find_method("multimodal"), options)
        drawn.append(sample_posterior(Problem(PRIOR, observed), NoiseStream(0, [0], [0]), method))
    torch.testing.assert_close(drawn[0], drawn[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_a_guided_denoiser_is_the_sum_of_its_parts(guidance):
    guided = GUIDANCE[guidance](Problem(PRIOR, segment()))
    x_hat, added = guided.parts(noisy(), LEVEL)
    torch.testing.assert_close(x_hat, PRIOR(noisy(), LEVEL), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guided(noisy(), LEVEL), x_hat + added, atol=1e-4, rtol=1e-4)


def test_weights_divide_error_covariances_exactly():
    truth = truth_of(PRIOR, 1, 0)
    plain = sources_of(truth)
    weighted = [replace(o, weight=w) for o, w in zip(plain, (2.0, 0.25), strict=True)]
    a, b = observed_by(truth, plain), observed_by(truth, weighted)
    factor = np.array([2.0, 0.25])[a.source]
    np.testing.assert_array_equal(b.R.variance, a.R.variance / factor)
    np.testing.assert_array_equal(b.weight, factor)
    assert a.fingerprint() != b.fingerprint()
