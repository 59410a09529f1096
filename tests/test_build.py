"""Compiling the native kernels: what is said where that cannot be, and a library of another version."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from heatpoint.kernels import _library
from pages import ROOT, load_module

build = load_module(ROOT / "src" / "heatpoint" / "kernels" / "native" / "build.py")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        build.NoCompilerError, match=r"no C\+\+ compiler \(c\+\+, g\+\+, clang\+\+, or \$CXX\) was found"
    ):
        build.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    with pytest.raises(build.NoCompilerError, match="nowhere could not be run: .*No such file"):
        build.build(tmp_path)


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        ("In file a.hpp:\na.hpp:3:1: error: no vectors here\n1 error generated.", "a.hpp:3:1: error: no vectors here"),
        ("killed", "killed"),
    ],
)
def test_a_compiler_that_fails(says: str, heard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = script(tmp_path / "fails", f"import sys\nsys.stderr.write({says!r})\nsys.exit(1)")
    monkeypatch.setenv("CXX", fails)
    with pytest.raises(build.NoCompilerError) as caught:
        build.build(tmp_path / "into")
    assert str(caught.value) == f"{fails} failed: {heard}"
    assert not (tmp_path / "into").exists()


def test_the_compiler_gets_its_flags_and_the_library_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Takes note of its arguments, and writes them where the output belongs.
    writes = "import sys\nopen(sys.argv[sys.argv.index('-o') + 1], 'w').write(' '.join(sys.argv[1:]))"
    monkeypatch.setenv("CXX", f"{script(tmp_path / 'writes', writes)} --own")
    monkeypatch.setenv("CXXFLAGS", "-g -DONE='a b'")
    made = build.build(tmp_path / "into")
    assert made == tmp_path / "into" / build.LIBRARY
    assert [path.name for path in made.parent.iterdir()] == [build.LIBRARY]
    assert made.read_text().startswith("--own -shared -pthread ")
    assert "-ffast-math" not in build.FLAGS


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = "import sys\nopen(sys.argv[sys.argv.index('-o') + 1], 'w').close()"
    monkeypatch.setenv("CXX", script(tmp_path / "writes", writes))
    (tmp_path / "file").touch()
    with pytest.raises(build.NoCompilerError, match="what the compiler makes could not be written: .*file"):
        build.build(tmp_path / "file")
    # The library's own place is taken by a folder.
    taken = tmp_path / "into" / build.LIBRARY
    taken.mkdir(parents=True)
    with pytest.raises(build.NoCompilerError, match="what the compiler makes could not be written"):
        build.build(taken.parent)
    assert list(taken.parent.iterdir()) == [taken]


def test_a_folder_of_its_own_is_left_only_with_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("CXX", script(tmp_path / "fails", "import sys\nsys.exit(1)"))
    with pytest.raises(build.NoCompilerError):
        build.build_apart()
    assert list(scratch.iterdir()) == []
    writes = "import sys\nopen(sys.argv[sys.argv.index('-o') + 1], 'w').close()"
    monkeypatch.setenv("CXX", script(tmp_path / "writes", writes))
    made = build.build_apart()
    assert [path.name for path in made.parent.iterdir()] == [build.LIBRARY]
    assert made.parent.parent == scratch
    assert made.parent.name.startswith(build.APART)
    # The hook knows by the name what is its own to remove.
    assert f'folder.name.startswith("{build.APART}")' in (ROOT / "hatch_build.py").read_text()
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(build.NoCompilerError, match="there is no place for the library: .*nowhere"):
        build.build_apart()


@pytest.mark.skipif(shutil.which("cc") is None or os.name != "posix", reason="there is no C compiler")
@pytest.mark.parametrize(("version", "size"), [(999, 0), (_library.ABI_VERSION, 8)])
def test_a_library_of_another_version_is_not_called(version: int, size: int, tmp_path: Path) -> None:
    source, path = tmp_path / "other.c", tmp_path / _library.LIBRARIES[0]
    functions = [f"int hp_abi_version(void) {{ return {version}; }}"]
    functions += [f"long long {measure}(void) {{ return {size}; }}" for _, measure in _library.CALLS.values()]
    source.write_text("\n".join(functions))
    build._run(["cc", "-shared", "-fPIC", str(source), "-o", str(path)])
    found = _library.load(tmp_path)
    assert found.handle is None
    assert found.best_instruction_set is None
    assert f"{path.name} speaks version {version} of the interface with structures of" in found.reason
    assert found.reason.endswith("Build it again.")


def test_a_library_that_is_something_else(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "other.c").write_text("int nothing(void) { return 0; }\n")
    path = tmp_path / _library.LIBRARIES[0]
    build._run(["cc", "-shared", "-fPIC", str(tmp_path / "other.c"), "-o", str(path)])
    found = _library.load(tmp_path)
    assert found.handle is None
    assert "cannot be loaded" in found.reason
    assert "Reinstall heatpoint." in found.reason


def test_where_there_is_a_compiler_there_is_a_library() -> None:
    # Else sources that do not compile would only make all tests of the library skip.
    try:
        build._compiler()
    except build.NoCompilerError:
        pytest.skip("there is no C++ compiler")
    assert _library.library().reason == ""
