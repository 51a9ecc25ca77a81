"""The shape of the project: who may import whom, and that the wheel holds every package."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from architecture import PAGE, ROOMS, ROOT, files, page
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAY_IMPORT = {
    "pack": {"pack"},
    "pipeline": {"pipeline", "pack"},
    "model": {"model", "pack"},
    "train": {"train", "pipeline", "model", "pack"},
    "bench": {"bench", "train", "pipeline", "model", "pack"},
}
NOT_IN_PACK = {"torch", "torchvision", "nvidia", "timm", "webdataset"}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which room it enters"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_floor_allows(room: str) -> None:
    assert files(room)
    for path in files(room):
        for name in imported(path):
            if name.startswith("david.") and name != "david.__version__":
                entered = name.split(".")[1]
                assert entered in MAY_IMPORT[room], f"{path} imports {name}"


def place_of(module: str) -> str | None:
    """Where in its room a module of david lies: its folder's name there, or its own."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 else None


@pytest.mark.parametrize("room", ROOMS)
def test_no_arrow_of_a_room_runs_back_up(room: str) -> None:
    """Folders of a room, and the files beside them, import each other in one direction only."""
    below: dict[str, set[str]] = defaultdict(set)
    for path in files(room):
        inside = path.relative_to(ROOT / room)
        if inside.name == "__init__.py" and len(inside.parts) == 1:
            continue  # it hands out names that lie deeper, when they are asked for
        here = inside.parts[0].removesuffix(".py")
        entered = {place_of(name) for name in imported(path) if name.startswith(f"david.{room}.")}
        below[here] |= {
            name
            for name in entered - {here}
            if (name and (ROOT / room / name).is_dir()) or (ROOT / room / f"{name}.py").is_file()
        }
    try:
        tuple(TopologicalSorter(below).static_order())
    except CycleError as error:
        pytest.fail(f"{room}: {' -> '.join(error.args[1])}")


def test_folders_and_files_stay_small() -> None:
    """A folder holds at most 20 files of code, and a file 300 lines."""
    folders: dict[Path, int] = defaultdict(int)
    for path in (path for room in ROOMS for path in files(room)):
        folders[path.parent] += 1
        assert len(path.read_text().splitlines()) <= 300, path
    assert {str(folder): count for folder, count in folders.items() if count > 20} == {}


def test_pack_needs_neither_torch_nor_dali() -> None:
    for path in files("pack"):
        foreign = {name.split(".")[0] for name in imported(path)} & NOT_IN_PACK
        assert not foreign, f"{path} imports {foreign}"


def test_help_starts_without_torch_and_dali() -> None:
    code = "import sys, david.cli; print(sorted({'torch', 'nvidia.dali', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def listed_packages() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])


def test_the_package_list_is_the_folders() -> None:
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in files(room)}
    assert listed_packages() == {"david"} | {"david." + ".".join(folder.parts) for folder in folders}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if name.endswith(".py")}
    expected = {"david/__init__.py", "david/cli.py"}
    expected |= {f"david/{path.relative_to(ROOT)}" for room in ROOMS for path in files(room)}
    assert packed == expected


def test_one_wheel_serves_every_python_from_the_first_on(wheel: Path) -> None:
    """Its tag says so, and what is in it keeps to it: all C code asks for the stable interface of that version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    major, minor = project["project"]["requires-python"].removeprefix(">=").split(".")
    assert wheel.name.split("-")[2:4] == [f"cp{major}{minor}", "abi3"]
    with zipfile.ZipFile(wheel) as content:
        built = {name for name in content.namelist() if name.endswith(".so")}
    modules = project["tool"]["setuptools"]["ext-modules"]
    assert built == {module["name"].replace(".", "/") + ".abi3.so" for module in modules}
    for module in modules:
        for source in module["sources"]:
            asked = f"#define Py_LIMITED_API 0x{int(major):02X}{int(minor):02X}0000"
            assert asked in (ROOT / source).read_text().partition("#include <Python.h>")[0], source


def test_architecture_is_what_the_files_say_of_themselves() -> None:
    assert PAGE.read_text() == page(), "run: python tests/architecture.py"


@pytest.mark.parametrize(
    "file, extras", [("constraints.txt", ["dev", "ray", "s3"]), ("constraints-peers.txt", ["peers"])]
)
def test_no_pinned_version_is_one_that_the_project_refuses(file: str, extras: list[str]) -> None:
    """Else pip refuses the README's commands."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [text for name in extras for text in project["optional-dependencies"][name]]
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in map(Requirement, filter(None, lines))}
    for wanted in map(Requirement, asked):
        pin = pinned.get(canonicalize_name(wanted.name))
        assert pin is None or wanted.specifier.contains(pin.version, prereleases=True), f"{file}: {wanted}, but {pin}"
