"""Imports large packages without what they load for a single name, or make and never need.

torch._dynamo, torch's compiler, takes 2 CPU s of every start: torchvision asks it one question,
Lightning wants a class of it, and every optimizer of torch calls it. scipy.signal, 0.7 s, is loaded
by torchmetrics for a window, all of matplotlib, 0.4 s, for its hints; Lightning's summary of a
model loads triton, 0.2 s, for a counter; MLflow's judges load a web server, 0.2 s, for an error
that only the server raises. Each gets a stand-in while the packages are imported.
Whoever needs one of them later gets the real one.

torch itself spends a quarter of its start, 0.35 s, on kernels in Python for tensors without memory,
which its compiler, its exporter and counters of FLOPs compute shapes with; with them comes what
generators of random numbers need. A network of joints that answers needs neither; whatever traces
has them loaded first, and so has whoever loads more than torch.

A command line that is only checked or shown should take no more than twice as long as Hydra's
import. OmegaConf loads attrs, 11 ms, to ask whether a class is of it; Hydra and its launchers make
nodes of their settings, 40 ms, of which a composition loads the chosen ones; pydantic reads the
records of all that is installed, 25 ms, for plugins that watch validations: none is to watch ours.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

_DYNAMO: Final = "torch._dynamo"
_COUNTER: Final = "torch.utils.flop_counter"
_PLOT: Final = "torchmetrics.utilities.plot"
_SERVER: Final = "fastapi"
_SPARED: Final = (_DYNAMO, "torch._dynamo.utils", "scipy.signal", _COUNTER, _PLOT)
_KERNELS: Final = "torch._meta_registrations"
_OF_KERNELS: Final = (
    "torch._decomp", "torch._prims", "torch._refs", "torch.utils._content_store", _DYNAMO,
)  # fmt: skip
"""What needs the kernels, or comes with them and cannot be imported before them."""
_UNCOMPILED: Final = ("state_dict", "load_state_dict", "zero_grad", "add_param_group")


def load_quickly(*packages: str) -> None:
    """Import packages, with stand-ins for what they load needlessly.

    Args:
        packages: such as ``torchvision``; one that a later version cannot import so is imported
            as it is. ``torch`` alone is loaded without its kernels for shapes and its generators.
    """
    if packages == ("torch",):
        _import_torch()
    else:
        load_kernels()
    _leave_optimizers_uncompiled()
    if any(name in sys.modules for name in _SPARED):
        return
    _put(_of_torch())
    vars(sys.modules[_DYNAMO])["utils"] = sys.modules["torch._dynamo.utils"]
    try:
        for package in packages:
            importlib.import_module(package)
    except (ImportError, AttributeError):
        _remove_stand_ins()
        for package in packages:
            importlib.import_module(package)
    finally:
        _remove_stand_ins()


@contextmanager
def checked_quickly() -> Iterator[None]:
    """Import Hydra, and compose and check inside, without what that does needlessly."""
    if "hydra" not in sys.modules:
        _import_hydra()
    _put({"pydantic.plugin._loader": {"get_plugins": tuple}})
    try:
        yield
    finally:
        _remove_stand_ins()


def _is_of_attrs(cls: type) -> bool:
    return hasattr(cls, "__attrs_attrs__")


class Later:
    """A node of Hydra's store, made of what was stored when it is loaded: few ever are."""

    def __init__(self, stored: Any) -> None:
        self.stored = stored

    def __deepcopy__(self, memo: Any) -> Any:
        """Return the node; Hydra copies what it loads."""
        return importlib.import_module("omegaconf").OmegaConf.structured(self.stored)

    def plain(self) -> dict[Any, Any]:
        """Return what was stored as a dictionary."""
        omegaconf = importlib.import_module("omegaconf").OmegaConf
        held = self.stored
        found = omegaconf.to_container(held) if omegaconf.is_config(held) else held
        if not isinstance(found, dict):
            raise TypeError(f"{type(found).__name__} is no dictionary")
        return found


def _import_hydra() -> None:
    """Import Hydra; what it stores meanwhile is made into nodes later."""
    _put({"attr": {"has": _is_of_attrs}})
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    structured = vars(omegaconf)["structured"]
    omegaconf.structured = Later
    try:
        import hydra  # noqa: F401
    finally:
        omegaconf.structured = structured
        _remove_stand_ins()


def _import_torch() -> None:
    """Import torch without its kernels for tensors without memory, until something needs them."""
    if "torch" in sys.modules:
        return
    _put({_KERNELS: {}})
    try:
        importlib.import_module("torch")
    finally:
        _remove_stand_ins()
        sys.meta_path.insert(0, _KernelsFirst())


def load_kernels() -> None:
    """Load all of torch, the kernels for tensors on the device ``meta`` included."""
    importlib.import_module("torch")
    with suppress(ModuleNotFoundError):
        importlib.import_module(_KERNELS)


class _KernelsFirst(MetaPathFinder):
    """Has torch's kernels loaded, in torch's own order, before what needs them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in (*_OF_KERNELS, _KERNELS):
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        if fullname != _KERNELS:
            load_kernels()
        there = sys.modules.get(fullname)
        return None if there is None else _There(there).found()


class _There(Loader):
    """Gives a module that was loaded while it was looked for, and does not execute it again."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def found(self) -> ModuleSpec:
        """Return where to load it; Python takes what the module itself says."""
        self.module.__spec__ = ModuleSpec(self.module.__name__, self)
        return self.module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _StandIn(ModuleType):
    """A module in place of another; asked for a name that it lacks, it makes way for the other."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


class _CompiledKind(type):
    """Lightning asks whether a module was compiled: none is before the compiler is loaded."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules.get("torch._dynamo.eval_frame")
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


def _of_torch() -> dict[str, dict[str, Any]]:
    """Return what stands in for what, while torch's followers and MLflow are imported."""
    return {
        _DYNAMO: {
            "OptimizedModule": _CompiledKind("OptimizedModule", (), {}),
            "disable": _as_it_is,
        },
        "torch._dynamo.utils": _later("torch._dynamo.utils", "is_compile_supported"),
        "scipy.signal": {"hamming": None},  # torchmetrics adds it where it lacks
        _COUNTER: _later(_COUNTER, "FlopCounterMode"),
        _PLOT: {"_AX_TYPE": object, "_CMAP_TYPE": object, "_PLOT_OUT_TYPE": object}
        | _later(_PLOT, "plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val"),
        _SERVER: _later(_SERVER, "HTTPException"),
    }


def _put(stand_ins: Mapping[str, dict[str, Any]]) -> None:
    for spared, its in stand_ins.items():
        if spared not in sys.modules:
            sys.modules[spared] = stand_in = _StandIn(spared)
            vars(stand_in).update(its)


def _remove_stand_ins() -> None:
    for name, module in list(sys.modules.items()):
        if isinstance(module, _StandIn):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(child) is module:
                delattr(sys.modules[parent], child)


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    """Stand in for ``torch._dynamo.disable``: nothing that is so marked is ever compiled here."""
    return function if function is not None else _as_it_is


def _later(module: str, *names: str) -> dict[str, Any]:
    """Return functions that import the module at their first call, and call what they name."""

    def caller(name: str) -> Any:
        return lambda *given, **more: getattr(importlib.import_module(module), name)(*given, **more)

    return {name: caller(name) for name in names}


def _leave_optimizers_uncompiled() -> None:
    """Keep torch's optimizers from loading the compiler to have themselves left out of it."""
    optimizer = importlib.import_module("torch.optim.optimizer").Optimizer
    for name in _UNCOMPILED:
        plain = getattr(vars(optimizer).get(name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dict__["__dynamo_disable"] = plain
