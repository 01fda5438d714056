"""Known answers of public data, where the folder of the data is; those that take minutes are slow."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from test_examples import load, run

from ssm import datasets


@pytest.fixture(scope="module")
def anchors(data: Path) -> dict:
    return json.loads((data / "anchors.json").read_text())


def test_c2_earthquakes(tmp_path, data, anchors):
    known = anchors["earthquakes_poisson_hmm"]
    result = run("c2", tmp_path, data, (3,))
    # Four decimals, as published.
    assert result["minus_loglik"]["3"] == pytest.approx(known["minus_loglik"]["3"], abs=1e-4)
    assert result["AIC"]["3"] == pytest.approx(known["AIC"]["3"], abs=0.01)
    assert result["BIC"]["3"] == pytest.approx(known["BIC"]["3"], abs=0.01)
    np.testing.assert_allclose(result["rates"], known["lambda3"], atol=1e-3)
    assert abs(result["residuals"].mean()) < 0.2 and result["residuals"].std() == pytest.approx(1, abs=0.15)
    assert all(p_value > 0.05 for p_value in result["diagnosis"].p_values().values())
    low, mean, high = result["next_year"]
    assert low < mean < high


@pytest.mark.slow
def test_c2_all_numbers_of_regimes(data, anchors):
    known = anchors["earthquakes_poisson_hmm"]
    result = load("c2")[0].main(None, data)
    for size in "1234":
        assert result["minus_loglik"][size] == pytest.approx(known["minus_loglik"][size], abs=1e-4)
        assert result["AIC"][size] == pytest.approx(known["AIC"][size], abs=0.01)
        assert result["BIC"][size] == pytest.approx(known["BIC"][size], abs=0.01)


@pytest.mark.slow
def test_c3_business_cycle(tmp_path, data, anchors):
    known = anchors["hamilton_gnp_msar4"]
    result = run("c3", tmp_path, data)
    assert result["published"] == pytest.approx(known["loglik"], abs=1e-3)
    assert result["log_prob"] == pytest.approx(known["loglik"], abs=1e-4)
    found = result["found"]
    numbers = [found["recession stays"], found["growth stays"], found["mean, recession"], found["mean, growth"]]
    np.testing.assert_allclose(numbers, [known["p00"], known["p11"], *known["mu"]], atol=1e-4)
    np.testing.assert_allclose([found[f"weight of lag {lag}"] for lag in (1, 2, 3, 4)], known["ar"], atol=1e-4)
    assert 1 / (1 - numbers[0]) == pytest.approx(known["durations"][0], abs=2e-3)
    assert float(result["errors"]["mean, growth"]) == pytest.approx(0.0745, abs=1e-4)  # Stata's mswitch


@pytest.mark.usefixtures("float64")
def test_the_published_business_cycle_has_its_likelihood(data, anchors):
    import ssm

    module, _ = load("c3")
    growth = np.loadtxt(datasets.public_file("switching/hamilton1989_gnp_growth.txt", data))
    lags = np.stack([growth[4 - lag : -lag] for lag in range(1, 5)], axis=1)
    reached = float(ssm.log_prob(module.published(), growth[4:], lags))
    assert reached == pytest.approx(anchors["hamilton_gnp_msar4"]["loglik"], abs=1e-3)  # parameters of four digits


def test_c4_letters(tmp_path, data):
    result = run("c4", tmp_path, data, (2,), 10_000, 60, 4)
    (vowels,) = (group for group in result["groups"] if "a" in group)
    assert vowels.replace("q", "") == " aeiou"  # ten thousand letters have few of q
    assert result["triples"] < result["pairs"] < result["bits"][2] < result["single letters"]


@pytest.mark.slow
def test_c4_more_states_take_fewer_bits(data, anchors):
    known = anchors["letters_hmm"]["bits_per_char_test"]
    result = load("c4")[0].main(None, data)
    bits = result["bits"]
    assert result["groups"] == {" aeiou", "bcdfghjklmnpqrstvwxyz"}
    assert result["single letters"] == pytest.approx(known["unigram"], abs=0.01)  # counts of another number of letters
    assert bits[2] == pytest.approx(known["hmm2_50k"], abs=2e-3)
    assert bits[2] > bits[4] > bits[8] > bits[16] > bits[32]
    assert bits[8] == pytest.approx(known["hmm8_50k"], abs=0.03)  # local maxima


def test_c5_speakers(tmp_path, data, anchors):
    result = run("c5", tmp_path, data, 1, 1)
    assert result["finite"]
    known = anchors["japanese_vowels"]["gaussian_hmm_per_class_test_acc"]
    assert result["accuracy"] == pytest.approx(known["K1_full"], abs=0.006)  # two of 370 utterances


@pytest.mark.slow
def test_c5_three_states(data, anchors):
    known = anchors["japanese_vowels"]["gaussian_hmm_per_class_test_acc"]
    assert load("c5")[0].main(None, data)["accuracy"] >= known["K3_full"] - 0.006  # local maxima


@pytest.mark.slow
@pytest.mark.parametrize(("size", "most"), [(50, 7.2), (200, 6.4), (400, 6.3)])
def test_chorales(data, size, most, monkeypatch):
    monkeypatch.setitem(os.environ, "ONESCAN_DATA", str(data))
    from benchmarks import jsb_chorales

    row = jsb_chorales.main((size,), out=None).splitlines()[-1].split("|")
    assert float(row[2]) <= most


@pytest.mark.parametrize("name", ["c2", "c3", "c5"])
def test_without_the_data_an_example_says_so(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="ONESCAN_DATA"):
        load(name)[0].main(None, tmp_path)
