"""The command line: what a person types, sees and is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint import __version__
from heatpoint.cli import VERBS, main
from heatpoint.cli.train import parse
from heatpoint.datasets import synthetic_faces
from runs import TINY


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr after a person's mistake."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("heatpoint: ")
    return lines[0]


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {verb} " in out for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"heatpoint {__version__}\n"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: heatpoint {verb}" in out
    # Every flag is explained: no row of the help consists of a flag alone.
    assert "--help" in out


def test_the_help_of_train_shows_the_recipes_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    for name, epochs in (("faces300w-crps", 150), ("mtfl-crps", 30)):
        with pytest.raises(SystemExit):
            main(["train", name, "--help"])
        assert f"(default: {epochs})" in capsys.readouterr().out


def test_recipes_lists_and_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    everything = capsys.readouterr().out
    assert "faces300w-sampling_argmax-small" in everything
    assert main(["recipes", "mtfl-log"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["recipe", "mtfl-log_score", "mtfl-log_score-small"]


def test_quick_verbs_load_nothing_heavy() -> None:
    code = """
import sys
from heatpoint.cli import main
main(["--help"])
for arguments in (["recipes"], ["train", "--help"], ["evaluate", "--help"], ["predict", "--help"]):
    try:
        main(arguments)
    except SystemExit:
        pass
heavy = [name for name in ("lightning", "timm", "torchmetrics", "matplotlib", "torchvision") if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_flag_reaches_the_recipe() -> None:
    command, recipe = parse(
        [
            *("faces300w-sampling_argmax", "--input", "128", "--model", "resnet18", "--head", "deconv"),
            *("--epochs", "7", "--batch-size", "3", "--seed", "4", "--no-flip-test", "--padding", "1.5"),
            *("--option", "num_samples=30", "--option", "formula=released", "--offset", "None"),
            *("--workers", "2", "--precision", "bf16-mixed", "--accelerator", "cpu", "--devices", "2"),
            *("--strategy", "ddp", "--resume", "--out", "there", "--data-root", "here", "--rotation-deg", "10"),
        ]
    )
    assert (recipe.data.input, recipe.data.flip_test, recipe.data.padding) == (128, False, 1.5)
    assert (recipe.model.backbone, recipe.model.head, recipe.model.offset) == ("resnet18", "deconv", None)
    assert (recipe.optimization.epochs, recipe.optimization.batch_size, recipe.seed) == (7, 3, 4)
    assert recipe.localizer_options == {"num_samples": 30, "formula": "released"}
    assert recipe.augmentation.rotation_deg == 10
    machine = command.machine
    assert (machine.workers, machine.precision, machine.accelerator) == (2, "bf16-mixed", "cpu")
    assert (machine.devices, machine.strategy) == ("2", "ddp")
    assert (command.resume, command.out, command.data_root) == (True, Path("there"), Path("here"))


def test_options_join_the_recipes_own() -> None:
    _, recipe = parse(["faces300w-gaussian_heatmap-small", "--option", "readout=dark:sigma_cells=1"])
    assert recipe.localizer_options["readout"] == {"name": "dark", "sigma_cells": 1}
    assert "sigma_cells" in recipe.localizer_options


def test_train_evaluate_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, image = tmp_path / "run", tmp_path / "face.png"
    assert main(["train", "synthetic-soft_argmax", *TINY, "--epochs", "1", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "epoch 1/1" in captured.out
    assert "s per epoch" in captured.out
    assert f"weights: {out / 'model.safetensors'}" in captured.out

    scores = tmp_path / "scores.json"
    arguments = [
        "evaluate",
        str(out / "model.safetensors"),
        "--readout",
        "argmax",
        "--limit",
        "4",
        "--out",
        str(scores),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "box_policy P1" in printed
    assert "flip_test False" in printed
    assert "argmax: make_localizer('soft_argmax', Grid((8, 8), stride=4, offset=0), readout='argmax')" in printed
    assert list(json.loads(scores.read_text())["scores"]) == ["recipe", "argmax"]

    face = synthetic_faces(1, split="test").samples[0]
    cv2.imwrite(str(image), np.asarray(face.image)[..., ::-1])
    given = ["predict", str(out / "model.safetensors"), str(image), "--out", str(tmp_path / "found")]
    assert main([*given, "--box", "10", "12", "80", "85", "--box", "5", "5", "60", "70"]) == 0
    assert f"{image}: 2 found, mean confidence " in capsys.readouterr().out
    written = json.loads((tmp_path / "found" / "face.json").read_text())
    assert written["heatpoint"]["model"] == str(out / "model.safetensors")
    assert (written["heatpoint"]["flip_test"], written["heatpoint"]["box_policy"]) == (False, "P1")
    found = written["predictions"]
    (tmp_path / "found" / "face.json").write_text('{"labels": 1}')
    assert "hold no file of another kind" in told(capsys, *given)
    assert "overlap the image" in told(capsys, *given[:3], "--box", "900", "900", "950", "950")
    assert [item["box"] for item in found] == [[10, 12, 80, 85], [5, 5, 60, 70]]
    assert len(found[0]["points"]) == len(found[0]["covariance"]) == 18
    picture = cv2.imread(str(tmp_path / "found" / "face.points.png"))
    assert picture.shape == np.asarray(face.image).shape


def test_mistakes_in_names_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert "the verb must be one of" in told(capsys, "trian")
    assert "Did you mean train?" in told(capsys, "trian")
    assert "unknown recipe 'synthetic-soft_argmx'" in told(capsys, "train", "synthetic-soft_argmx", *out)
    assert "RECIPE must be given" in told(capsys, "train")
    assert "RECIPE must come first, got '--epochs'" in told(capsys, "train", "--epochs", "3")
    tiny = ["train", "synthetic-sampling_argmax", *TINY, *out]
    assert "Did you mean num_samples?" in told(capsys, *tiny, "--option", "num_smples=3")
    assert "--option must be KEY=VALUE" in told(capsys, *tiny, "--option", "num_samples")
    assert "resnet18" in told(capsys, *tiny, "--model", "resnet19")
    assert "no recipe's name contains 'xyz'" in told(capsys, "recipes", "xyz")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--padding", "0"], "padding must be greater than 0, got 0.0"),
        (["--epocs", "3"], "Unrecognized options: --epocs"),
        (["--epochs", "x"], "Error parsing --epochs"),
    ],
)
def test_mistakes_in_flags_name_the_flag(flags: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "synthetic-soft_argmax", *flags])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_mistakes_in_data_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEATPOINT_DATA", raising=False)
    train = ["train", "faces300w-soft_argmax-small", "--out", str(tmp_path / "run")]
    assert "Set HEATPOINT_DATA or --data-root" in told(capsys, *train)
    assert "holds faces300w/" in told(capsys, *train, "--data-root", str(tmp_path))
    assert "nowhere" in told(capsys, *train, "--data-root", str(tmp_path / "nowhere"))
    root = faces(tmp_path)
    given = [*train, "--data-root", str(root), "--limit", "3", "--validation-fraction", "0.4"]
    pts = root / "faces300w" / "helen" / "trainset" / "a1.pts"
    whole = pts.read_text()
    pts.write_text(whole.replace("20 21\n", "", 1))
    assert "a1.pts must hold 68 points, got 67" in told(capsys, *given)
    pts.write_text(whole)
    image = pts.with_suffix(".jpg")
    image.write_bytes(image.read_bytes()[:-300])
    line = told(capsys, *given)
    assert "a1.jpg, which is truncated. Copy or download the file again." in line
    assert not (tmp_path / "run").exists()


def faces(folder: Path) -> Path:
    """A tiny folder in the form of 300-W: three photographs with 68 points each."""
    root = folder / "data"
    grey = np.random.default_rng(0).integers(0, 255, (60, 70, 3), dtype=np.uint8)
    lines = [f"{20 + i % 9 * 3} {21 + i // 9 * 3}\n" for i in range(68)]
    text = "version: 1\nn_points: 68\n{\n" + "".join(lines) + "}\n"
    for part in ("helen/trainset", "helen/testset", "afw"):
        (root / "faces300w" / part).mkdir(parents=True)
        for number in range(3):
            path = root / "faces300w" / part / f"a{number}.jpg"
            cv2.imwrite(str(path), grey)
            path.with_suffix(".pts").write_text(text)
    return root


def test_mistakes_with_files_are_one_line(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(model_path)
    out = ["--out", str(tmp_path / "out")]
    assert "there is no file" in told(capsys, "evaluate", str(tmp_path / "no.safetensors"))
    assert "Did you mean top_k" in told(capsys, "evaluate", model, "--readout", "topk")
    assert "nothing.png" in told(capsys, "predict", model, str(tmp_path / "nothing.png"), *out)
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    assert "text.png" in told(capsys, "predict", model, str(text), *out)
    assert "FILE must be given at least once" in told(capsys, "predict", model, *out)
    twin = tmp_path / "b" / "text.png"
    assert "text more than once" in told(capsys, "predict", model, str(text), str(twin), *out)
    assert "--level must lie between 0 and 1, got 2.0" in told(
        capsys, "predict", model, str(text), "--level", "2", *out
    )
    assert not (tmp_path / "out").exists()


def test_resuming_another_recipe_is_one_line(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(model_path.parent, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    line = told(capsys, "train", "synthetic-log_score", *TINY, "--seed", "5", "--out", str(out), "--resume")
    assert "--resume found a checkpoint of another recipe" in line
    assert "localizer is 'soft_argmax' there, 'log_score' here" in line
    assert "Continue it with --resume" in told(capsys, "train", "synthetic-log_score", *TINY, "--out", str(out))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_where_a_mistake_arose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["train", "nothing"])


def test_a_missing_package_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import heatpoint.cli as cli

    def without(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="tyro")

    monkeypatch.setattr(cli.importlib, "import_module", without)
    assert told(capsys, "recipes") == (
        "heatpoint: the verb recipes needs the package 'tyro', which is not installed. Run: pip install 'heatpoint[train]', "
        "or in a checkout: pip install -e '.[all]'"
    )

    def broken(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="heatpoint.nothing")

    monkeypatch.setattr(cli.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["recipes"])


def test_stopped_by_hand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import heatpoint.cli.recipes as verb

    def stop(arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "run", stop)
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "heatpoint: stopped. A run of train continues with --resume.\n"


def test_the_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_DATA", "/nowhere")
    monkeypatch.setattr("heatpoint.cli.doctor.PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"heatpoint {__version__}, Python 3.")
    assert lines[1].startswith("  torch ")
    assert lines[2] == "  no-such-package is not installed"
    assert lines[3].startswith("devices: cpu, ")
    assert lines[4] == "kernels, set to 'auto':"
    assert lines[5].startswith("  triton: ")
    assert lines[6].startswith("  native: ")
    assert lines[7:9] == ["  gemm: available", "  torch: available"]
    assert lines[9] == "HEATPOINT_DATA: /nowhere, which is no folder"
