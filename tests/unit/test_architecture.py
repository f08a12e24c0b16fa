"""The import graph: rooms import downwards only, and a faulty configuration needs no torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "asl_exp"

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
)
"""From top to bottom; a ``__main__`` and the package's own modules are doors, above them all."""

HEAVY = {"torch", "torchvision", "pytorch_lightning", "timm", "mlflow", "pandas", "kornia", "numpy"}

LIGHT = {"asl_exp.cli", "asl_exp.__version__"}
"""What doors may share; cli.py is held to the same rule as they."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
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


def graph(*, when_loaded: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (importing module, imported name) of imports within the package.

    With ``when_loaded``, without those inside functions: a worker process starts in one.
    """
    for name, path in modules():
        tree = ast.parse(path.read_text())
        tree = top_level(tree) if when_loaded else tree
        for imported in imports(tree, of=name, is_package=path.name == "__init__.py"):
            if imported.split(".")[0] == "asl_exp":
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


def test_no_module_imports_another_in_a_circle() -> None:
    names = {name for name, _ in modules()}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for importer, imported in graph(when_loaded=True):
        target = imported if imported in names else imported.rpartition(".")[0]
        if target in names and target != importer:
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


@pytest.mark.parametrize("module", [n for n, _ in modules() if room_of(n) == "config"])
def test_config_is_light_and_stands_alone(module: str) -> None:
    path = dict(modules())[module]
    tree = ast.parse(path.read_text())
    package = path.name == "__init__.py"
    ours = [i for i in imports(tree, of=module, is_package=package) if i.startswith("asl_exp")]
    assert all(room_of(imported) == "config" for imported in ours), ours
    loaded = {i.split(".")[0] for i in imports(top_level(tree), of=module, is_package=package)}
    assert not loaded & HEAVY


@pytest.mark.parametrize("door", [n for n, _ in modules() if is_door(n)])
def test_doors_load_nothing_heavy_before_they_know_what_is_asked(door: str) -> None:
    path = dict(modules())[door]
    tree = top_level(ast.parse(path.read_text()))
    found = set(imports(tree, of=door, is_package=path.name == "__init__.py"))
    assert not {name.split(".")[0] for name in found} & HEAVY
    ours = {n for n in found if n.startswith("asl_exp.")} - LIGHT
    assert {room_of(n) for n in ours} <= {"config"}


def test_the_check_sees_what_it_forbids() -> None:
    tree = ast.parse("from ..training import run\nimport torch\ndef f():\n  import pandas\n")
    found = list(imports(tree, of="asl_exp.model.head", is_package=False))
    assert found == ["asl_exp.training.run", "torch", "pandas"]
    assert list(imports(top_level(tree), of="asl_exp.model.head", is_package=False)) == found[:2]
