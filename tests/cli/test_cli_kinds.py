"""Scans and point clouds on the command line: train, evaluate, predict, and mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.cli import main
from heatpoint.datasets import ScanSet, load_scan, synthetic_clouds, synthetic_scans
from heatpoint.inference import CloudPredictor, Predictor, ScanPredictor
from heatpoint.training import scan_data
from spectralis import write_vol

SCAN = ["oct-synthetic-soft_argmax", "--limit", "8", "--validation-fraction", "0.25", "--epochs", "1"]
CLOUD = ["synthetic_chairs-{}", "--limit", "8", "--validation-fraction", "0.25", "--epochs", "1", "--train-limit", "0"]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def trained(folder: Path, arguments: list[str]) -> Path:
    assert main(["train", *arguments, "--out", str(folder / "run")]) == 0
    return folder / "run" / "model.safetensors"


@pytest.fixture(scope="module")
def scan_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("scan"), SCAN)


@pytest.fixture(scope="module")
def cloud_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("cloud"), [CLOUD[0].format("soft_argmax"), *CLOUD[1:]])


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    pixels = load_scan(synthetic_scans(1, split="test", seed=3).samples[0])
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), np.rint(255 * pixels).astype(np.uint8))
    return path


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    path = tmp_path / "chair.npy"
    np.save(path, synthetic_clouds(1, category="chair", split="test", seed=5).samples[0].xyz)
    return path


def test_surfaces_of_a_scan_are_predicted(
    scan_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(scan_model), str(scan), "--out", str(out), "--axial-um", "2.5"]) == 0
    assert "4 surfaces, mean deviation" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"scan.json", "scan.surfaces.png", "scan.thickness.png"}
    found = json.loads((out / "scan.json").read_text())
    rows = np.array(found["predictions"][0]["rows"])
    assert rows.shape == (4, load_scan(scan).shape[1])
    assert found["predictions"][0]["axial_um"] == 2.5
    np.testing.assert_array_equal(rows, ScanPredictor.load(scan_model)(scan).rows)


def test_every_scan_of_a_volume_is_predicted_with_its_own_spacing(scan_model: Path, tmp_path: Path) -> None:
    volume = tmp_path / "eye.vol"
    scans = np.random.default_rng(0).uniform(0, 1, (3, 96, 64)).astype(np.float32)
    write_vol(volume, scans, scale_mm=(0.0057, 0.12, 0.0041))
    out = tmp_path / "out"
    assert main(["predict", str(scan_model), str(volume), "--out", str(out)]) == 0
    found = json.loads((out / "eye.json").read_text())["predictions"]
    assert [item["axial_um"] for item in found] == pytest.approx([4.1] * 3)
    assert [item["lateral_um"] for item in found] == pytest.approx([5.7] * 3)
    assert len({json.dumps(item["rows"]) for item in found}) == 3
    assert sorted(path.name for path in out.glob("*.surfaces.png")) == [f"eye.00{i}.surfaces.png" for i in range(3)]


def test_keypoints_of_a_cloud_are_predicted(
    cloud_model: Path, cloud: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(cloud_model), str(cloud), "--out", str(out)]) == 0
    assert "15 keypoints, mean confidence" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"chair.json", "chair.points.html"}
    points = np.array(json.loads((out / "chair.json").read_text())["predictions"][0]["points"])
    assert points.shape == (15, 3)
    np.testing.assert_array_equal(points, CloudPredictor.load(cloud_model)(cloud).points)


def test_scores_are_printed_in_the_terms_of_the_kind(
    scan_model: Path, cloud_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(scan_model), "--limit", "3", "--readout", "argmax"]) == 0
    out = capsys.readouterr().out
    assert "on 3 test scans" in out
    assert "MAD px" in out
    assert "argmax: make_localizer" in out
    assert main(["evaluate", str(cloud_model), "--limit", "3"]) == 0
    out = capsys.readouterr().out
    assert "on 3 test clouds" in out
    assert "PCK@0.01" in out


@pytest.mark.parametrize(
    ("kind", "flags", "text"),
    [
        ("cloud", ["--box", "0", "0", "5", "5"], "--box must be left out for a model of a task 'cloud'"),
        ("cloud", ["--axial-um", "3"], "--axial-um must be left out for a model of a task 'cloud', got 3.0"),
        ("scan", ["--level", "0.5"], "--level must be left out for a model of a task 'scan', got 0.5"),
        ("scan", ["--axial-um", "-1"], "--axial-um must be greater than 0, got -1.0"),
        ("scan", [], "text.txt"),
        ("cloud", [], "text.txt"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    scan_model: Path,
    cloud_model: Path,
    tmp_path: Path,
    kind: str,
    flags: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("neither a scan nor a cloud")
    model: Any = {"scan": scan_model, "cloud": cloud_model}[kind]
    capsys.readouterr()
    assert text in told(capsys, "predict", str(model), str(path), *flags, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_spacing_of_the_scans_scored_is_told_on_the_command_line(
    scan_model: Path,
    cloud_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def without_spacing(number: int, *, split: str) -> ScanSet:
        found = synthetic_scans(number, split=split)
        return replace(found, samples=tuple(replace(scan, axial_um=None) for scan in found.samples))

    monkeypatch.setitem(scan_data.RENDERED, "synthetic_scans", without_spacing)
    out = tmp_path / "scores.json"
    assert main(["evaluate", str(scan_model), "--limit", "3", "--out", str(out)]) == 0
    assert "mad_um" not in json.loads(out.read_text())["scores"]["recipe"]
    assert main(["evaluate", str(scan_model), "--limit", "3", "--axial-um", "9", "--out", str(out)]) == 0
    scores = json.loads(out.read_text())["scores"]["recipe"]
    assert scores["mad_um"]["overall"] == pytest.approx(9 * scores["mad_px"]["overall"])
    capsys.readouterr()
    text = "evaluate: --axial-um must be left out for a model of a task 'cloud', got 9.0"
    assert text in told(capsys, "evaluate", str(cloud_model), "--axial-um", "9")
    for wrong in ("0", "nan"):
        text = "evaluate: --axial-um must be greater than 0, got"
        assert text in told(capsys, "evaluate", str(scan_model), "--axial-um", wrong)


def test_predictors_refuse_weights_of_another_kind(scan_model: Path, cloud_model: Path) -> None:
    with pytest.raises(ValueError, match="Predictor: trained must locate points in images, got oct-synthetic"):
        Predictor.load(scan_model)
    with pytest.raises(ValueError, match="ScanPredictor: trained must locate surfaces in scans, got synthetic_chairs"):
        ScanPredictor.load(cloud_model)
    with pytest.raises(ValueError, match="CloudPredictor: .* got oct-synthetic"):
        CloudPredictor.load(scan_model)


def test_another_kind_of_network_is_no_start(
    scan_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", CLOUD[0].format("soft_argmax"), *CLOUD[1:], "--start", str(scan_model)]
    assert "--start must hold a network for a task 'cloud', got 'scan'" in told(
        capsys, *given, "--out", str(tmp_path / "run")
    )
