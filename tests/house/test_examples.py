"""Every example runs, says what it promises, and draws its figure."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))  # as Python does for a script that it runs


def load(name: str):
    """The module of one example, found by the beginning of its name."""
    (path,) = EXAMPLES.glob(f"{name}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, path.stem


def test_examples_are_short():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert lengths and max(lengths.values()) <= 100, lengths


def run(name: str, folder: Path, *arguments):
    """What an example's main returns, once its figure is in the folder."""
    module, stem = load(name)
    result = module.main(folder, *arguments)
    figure = folder / f"{stem}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size > 10_000
    return result


def test_without_the_data_the_command_line_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    module, stem = load("c2")
    monkeypatch.setattr(sys, "argv", [stem, "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        module.command_line(module.main, module.__doc__)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "earthquakes_annual_1900_2006.csv" in said and "ONESCAN_DATA" in said


def test_a0_an_hmm_is_an_rnn(tmp_path):
    result = run("a0", tmp_path)
    assert result["difference"] < 1e-5  # float32 after 200 steps
    assert result["hmm"] == pytest.approx(result["rnn"], rel=1e-5)


def test_a1_kalman_nile(tmp_path):
    result = run("a1", tmp_path, False)
    assert (result["outlier"], result["break"]) == (1913, 1899)
    statistics = [row.statistic for row in result["diagnosis"].rows]
    assert statistics[1:] == pytest.approx([8.84, 0.05, 0.61], abs=0.005)  # Durbin & Koopman 2012, section 2.12
    whole, bridged = result["variances"]
    assert bridged[30] > 3 * whole[30]
    assert (tmp_path / "a1_kalman_nile_residuals.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a1_kalman_nile_fitted():
    result = load("a1")[0].main(None)
    assert result["log_prob"] == pytest.approx(-633.4645636, abs=1e-6)
    assert result["noise"] == pytest.approx(15098.52, rel=1e-4) and result["change"] == pytest.approx(
        1469.176, rel=1e-4
    )


def test_a2_rnn_text(tmp_path):
    result = run("a2", tmp_path, 20_000, 1)
    assert result["network"][-1] < result["network"][0]
    assert result["bigram"] < result["unigram"] and len(result["text"]) == 200


@pytest.mark.slow
def test_b0_missing_and_ragged(tmp_path):
    assert all(abs(difference) < 1e-4 for difference in run("b0", tmp_path).values())


@pytest.mark.slow
def test_b1_parallel_in_time(tmp_path):
    assert all(difference < 1e-5 for difference in run("b1", tmp_path, False, (32,)).values())


@pytest.mark.slow
def test_b2_em_and_gradient(tmp_path):
    result = run("b2", tmp_path)
    assert result["difference"] < 1e-5
    assert result["Adam, rate 0.1"] == pytest.approx(result["EM"], abs=1e-3)


def test_c0_changepoints(tmp_path):
    result = run("c0", tmp_path)
    assert result["changepoints"] == [28]  # 1899, as the first dam at Aswan was being built
    assert result["log_prob"] == pytest.approx(-126.62418, abs=1e-3)
    assert result["change"][26:31].sum() > 0.75


@pytest.mark.slow
def test_c1_durations(tmp_path):
    result = run("c1", tmp_path, 600)
    assert result["durations"] > result["markov"] + 0.005
    assert result["durations, right"] > result["markov, right"]


@pytest.mark.slow
def test_d0_factor_analysis(tmp_path):
    result = run("d0", tmp_path)
    assert all(abs(gap) < 1e-8 for gap in result["gaps"].values())
    assert result["noise"][0] == pytest.approx(result["noise"][1], rel=1e-4)  # flat: 1e-8 of evidence is 1e-4 here
    assert result["effects"][0] == pytest.approx(result["effects"][1], abs=1e-3)
    assert result["factors"] > 20


@pytest.mark.slow
def test_d1_dynamic_factor(tmp_path):
    result = run("d1", tmp_path)
    reached = result["log_probs"]
    assert reached["EM"] == pytest.approx(reached["L-BFGS"], abs=1e-6)
    assert reached["L-BFGS"] - 0.1 < reached["Adam, rate 0.05"] < reached["L-BFGS"]
    assert min(result["effects"].values()) > 0 and result["agreement"] > 0.7


@pytest.mark.slow
def test_d2_tracking(tmp_path):
    result = run("d2", tmp_path)
    lost = ("all", "east lost", "north lost", "both lost")
    assert all(result["smoother"][why] < 0.6 * result["filter"][why] for why in lost)
    # Neighbouring minutes are alike: of some 25 of their own, the share is within 2.5 standard deviations of 0.9.
    assert all(abs(each["inside"] - 0.9) < 0.15 for each in result.values())


@pytest.mark.slow
def test_d3_one_number(tmp_path):
    result = run("d3", tmp_path)
    regression, kalman, network = result["totals"].values()
    assert kalman == pytest.approx(regression, abs=1e-6) and network == pytest.approx(regression, abs=1e-6)
    (mean, spread, *_), (drawn, drawn_spread, *_) = result["forecasts"].values()
    assert mean == pytest.approx(result["path"], abs=1e-9)
    assert drawn == pytest.approx(mean, abs=4 * spread.max() / 4000**0.5)  # four standard errors
    assert drawn_spread == pytest.approx(spread, rel=4 / 8000**0.5)
    # The gain settles by b² a step, and its effect on the mean is forgotten by b.
    steps = np.arange(40)
    assert np.all(result["settled"] < 10 * 0.6**steps + 1e-14) and result["settled"][-1] < 1e-8
