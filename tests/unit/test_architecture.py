"""The import graph: rooms import downwards only, and a faulty configuration needs no torch."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "asl_exp"

ROOMS = (
    "study",
    "serving",
    "training",
    "evaluation",
    "replica",
    "tracking",
    "model",
    "data",
    "runs",
    "config",
    "compat",
)
"""From top to bottom; doors are above them all: a ``__main__``, the package's own modules, and the
plugin by which Hydra comes to a study."""

HEAVY = {"torch", "torchvision", "pytorch_lightning", "timm", "mlflow", "pandas", "numpy"}

COMPAT_OF_CONFIG = {
    "asl_exp.compat.hydra",
    "asl_exp.compat.hydra_plain",
    "asl_exp.compat.quick_start",
    "asl_exp.compat.timm",
}
"""The only ones that a wrong command line may load."""

PRIVATE = (
    "hydra._internal",
    "dagshub.auth",
    "lightning_fabric",
    "mlflow.store",
    "mlflow.system_metrics",
    "mlflow.utils",
    "optuna.storages.get_storage",
    "torch.distributed.elastic",
    "torch.distributed.launcher",
)
"""What other packages do not document; besides every name that begins with an underscore."""

LONGEST, MOST_PARAMETERS = 60, 6
"""Lines of a function, and its parameters."""

LIGHT = {"asl_exp.cli", "asl_exp.__version__"}
"""What doors may share; cli.py is held to the same rule as they."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(tree: ast.AST, *, of: str, is_package: bool) -> Iterator[str]:
    """Yield the full name of everything that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = of.split(".")[: len(of.split(".")) - node.level + is_package]
                module = ".".join([*above, *([module] if module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    parts = module.split(".")
    if "__main__" in parts:
        return "door"
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "door"


def is_door(module: str) -> bool:
    return room_of(module) == "door"


def graph() -> Iterator[tuple[str, str]]:
    """Yield (importing module, imported name) of imports within the package."""
    for name, path in modules():
        tree = ast.parse(path.read_text())
        for imported in imports(tree, of=name, is_package=path.name == "__init__.py"):
            if imported.split(".")[0] in ("asl_exp", "hydra_plugins"):
                yield name, imported


def top_level(tree: ast.Module) -> ast.Module:
    """Return the module without the bodies of its functions."""
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ClassDef):
            body = [n for n in node.body if not isinstance(n, (ast.FunctionDef,))]
            kept += body
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            kept.append(node)
    return ast.Module(body=kept, type_ignores=[])


def test_every_module_belongs_to_a_room_or_is_a_door() -> None:
    folders = {p.parent.relative_to(PACKAGE).parts[0] for p in PACKAGE.glob("*/**/*.py")}
    assert folders <= set(ROOMS)
    assert {room_of(name) for name, _ in modules()} > {"training", "model", "data", "config"}


def test_rooms_import_downwards_only() -> None:
    upwards = [
        f"{importer} imports {imported}"
        for importer, imported in graph()
        if not is_door(importer)
        and (is_door(imported) or ROOMS.index(room_of(imported)) < ROOMS.index(room_of(importer)))
    ]
    assert not upwards, "\n".join(upwards)


def test_the_document_names_what_is_there() -> None:
    """docs/architecture.md speaks of files, and of functions beside the file they are in."""
    root = PACKAGE.parent
    text = (root / "docs" / "architecture.md").read_text()
    files = set(re.findall(r"`((?:\w+/)+\w+\.py)`", text))
    assert len(files) >= 10
    assert [f for f in files if not any((top / f).is_file() for top in (PACKAGE, root))] == []
    assert [f for f in re.findall(r"`(\w+\.py)`", text) if not any(PACKAGE.rglob(f))] == []
    for row in text.splitlines():
        beside = re.match(r"\| `(?:\w+\.)?(\w+)`[^|]*\| `(\w+/\w+\.py)`", row)
        if beside:
            assert f"def {beside[1]}(" in (PACKAGE / beside[2]).read_text(), row


def test_every_file_of_data_is_packaged() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    packaged = {
        file
        for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for file in (PACKAGE.parent / package.replace(".", "/")).glob(pattern)
    }
    files = {f for f in PACKAGE.rglob("*.*") if f.is_file() and "__pycache__" not in f.parts}
    assert {f for f in files if f.suffix != ".py"} == packaged


def test_no_module_imports_another_in_a_circle() -> None:
    """Whether when it is loaded, in a function, or for its types alone."""
    names = {name for name, _ in modules()}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for importer, imported in graph():
        target = imported if imported in names else imported.rpartition(".")[0]
        if target in names and target not in (importer, PACKAGE.name):  # which knows its doors
            edges[importer].add(target)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for following in sorted(edges[name]):
                visit(following, (*path, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())


@pytest.mark.parametrize(
    "module", [n for n, _ in modules() if room_of(n) == "config" or n in COMPAT_OF_CONFIG]
)
def test_config_is_light_and_stands_alone(module: str) -> None:
    path = dict(modules())[module]
    tree = ast.parse(path.read_text())
    package = path.name == "__init__.py"
    ours = [i for i in imports(tree, of=module, is_package=package) if i.startswith("asl_exp")]
    below = {imported for imported in ours if room_of(imported) != "config"}
    assert all(any(one.startswith(light) for light in COMPAT_OF_CONFIG) for one in below), below
    loaded = {i.split(".")[0] for i in imports(top_level(tree), of=module, is_package=package)}
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("loaded", "spared"),
    [
        (
            ("serving.predict", "data.hands.hand_store"),
            {"timm", "torchvision", "pandas", "omegaconf"},
        ),
        (("training.folds",), {"matplotlib", "sklearn", "scipy.ndimage"}),
    ],
    ids=["an answer by joints alone", "a run"],
)
def test_a_start_is_spared(loaded: tuple[str, ...], spared: set[str]) -> None:
    files = dict(modules())
    waiting, seen = [f"{PACKAGE.name}.{name}" for name in loaded], set[str]()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        tree = top_level(ast.parse(files[module].read_text()))
        package = files[module].name == "__init__.py"
        for imported in imports(tree, of=module, is_package=package):
            top, below = imported.split(".")[0], ".".join(imported.split(".")[:2])
            assert not {top, below} & spared, f"{module} imports {imported}"
            target = imported if imported in files else imported.rpartition(".")[0]
            if target in files and target not in seen:
                waiting.append(target)
    assert len(seen) > 20


@pytest.mark.parametrize("door", [n for n, _ in modules() if is_door(n)])
def test_doors_load_nothing_heavy_before_they_know_what_is_asked(door: str) -> None:
    path = dict(modules())[door]
    tree = top_level(ast.parse(path.read_text()))
    found = set(imports(tree, of=door, is_package=path.name == "__init__.py"))
    assert not {name.split(".")[0] for name in found} & HEAVY
    ours = {n for n in found if n.startswith("asl_exp.")} - LIGHT
    assert {room_of(n) for n in ours} <= {"config"}


def test_private_parts_of_other_packages_are_used_in_compat_alone() -> None:
    used = [
        f"{name} imports {imported}"
        for name, path in modules()
        if room_of(name) != "compat"
        for imported in imports(ast.parse(path.read_text()), of=name, is_package=False)
        if imported.split(".")[0] != "asl_exp" and is_private(imported)
    ]
    assert not used, "\n".join(used)


def is_private(imported: str) -> bool:
    hidden = any(part.startswith("_") and part != "__future__" for part in imported.split("."))
    return hidden or any(f"{imported}.".startswith(f"{part}.") for part in PRIVATE)


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{name}.{node.name}", node


def test_functions_are_short() -> None:
    long = [
        f"{name} has {lines} lines"
        for name, node in functions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST
    ]
    assert not long, "\n".join(long)


def test_functions_take_few_parameters() -> None:
    """Functions for notebooks, at the top of the package, take what a command line would."""
    many = [
        f"{name} takes {len(taken)} parameters"
        for name, node in functions()
        if not is_door(name.rpartition(".")[0]) and len(taken := parameters(node)) > MOST_PARAMETERS
    ]
    assert not many, "\n".join(many)


def parameters(node: ast.FunctionDef) -> list[str]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one.arg for one in given if one.arg not in ("self", "cls")]


def test_the_check_sees_what_it_forbids() -> None:
    tree = ast.parse("from ..training import run\nimport torch\ndef f():\n  import pandas\n")
    found = list(imports(tree, of="asl_exp.model.head", is_package=False))
    assert found == ["asl_exp.training.run", "torch", "pandas"]
    assert list(imports(top_level(tree), of="asl_exp.model.head", is_package=False)) == found[:2]
    assert is_private("hydra._internal.utils")
    assert is_private("torch.nn.modules.batchnorm._NormBase")
    assert not is_private("mlflow.tracking.MlflowClient")
    assert "hydra_plugins.asl_exp_sweeper" in dict(modules())
    assert ("hydra_plugins.asl_exp_sweeper", "asl_exp.study.command.run_study_command") in set(
        graph()
    )
