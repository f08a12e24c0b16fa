"""The private parts of other packages that asl_exp uses are there and do what they did.

Where one of these fails after an upgrade, the file of asl_exp/compat that it names is to be mended.
"""

import base64
import copy
import importlib
import inspect
import json
import logging
import subprocess
import sys
import warnings
import zlib
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf, _utils
from yaml import YAMLError

import asl_exp
from asl_exp.compat import hydra as compat_hydra
from asl_exp.compat import hydra_plain
from asl_exp.compat import lightning as compat_lightning
from asl_exp.compat import mlflow as compat_mlflow
from asl_exp.compat import optuna as compat_optuna
from asl_exp.compat import timm as compat_timm
from asl_exp.compat import torch as compat_torch
from asl_exp.config.compose import register_bases
from asl_exp.config.conf_folder import conf_dir

PARTS = {
    "hydra-core": (
        "hydra._internal.config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config",
        "hydra._internal.config_repository.ConfigRepository._create_defaults_list",
        "hydra._internal.config_repository.ConfigRepository._find_object_source",
        "hydra._internal.defaults_list.create_defaults_list",
        "hydra._internal.defaults_list._create_interpolation_map",
        "hydra._internal.hydra.Hydra.get_mode",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra.core.utils.JobReturn.return_value",
        "hydra.core.override_parser.types.Override._get_value_element_as_str",
        "hydra.core.global_hydra.GlobalHydra.instance",
        "hydra.core.config_store.ConfigStore._load",
        "hydra.core.config_store.OmegaConf.structured",
        "hydra.core.plugins.Plugins._scan_all_plugins",
        "hydra.core.plugins.Plugins.register",
        "hydra.core.plugins.pkgutil.walk_packages",
        "hydra.plugins.config_source.ConfigSource._get_header_dict",
        "hydra.plugins.config_source.ConfigSource._normalize_file_name",
    ),
    "omegaconf": ("omegaconf._utils.get_yaml_loader", "omegaconf._utils.attr"),
    "pydantic": ("pydantic.plugin._loader.get_plugins",),
    "torch": (
        "torch.nn.modules.batchnorm._NormBase",
        "torch.cuda.default_generators",
        "torch._fused_adam_",
        "torch.optim.optimizer.Optimizer.add_param_group.__wrapped__",
        "torch.distributed.elastic.multiprocessing.DefaultLogsSpecs",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
        "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError",
        "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError",
        "torch.distributed.elastic.rendezvous.api.RendezvousClosedError",
        "torch.distributed.elastic.rendezvous.api.RendezvousHandler.next_rendezvous",
        "torch.distributed.elastic.rendezvous.api.RendezvousStoreInfo",
        "torch.distributed.elastic.rendezvous.api.rendezvous_handler_registry.register",
        "torch.distributed.launcher.api.LaunchConfig",
        "torch.distributed.launcher.api.elastic_launch",
    ),
    "pytorch-lightning": (
        "lightning_fabric.plugins.environments.lightning.LightningEnvironment",
        "lightning_fabric.plugins.environments.torchelastic.TorchElasticEnvironment",
    ),
    "optuna": (
        "optuna.storages.get_storage",
        "optuna.storages.BaseStorage.get_trial_id_from_study_id_trial_number",
        "optuna.exceptions.ExperimentalWarning",
    ),
    "mlflow": (
        "mlflow.environment_variables._MLFLOW_IS_IN_SERVING_ENVIRONMENT",
        "mlflow.store.artifact.artifact_repository_registry.get_artifact_repository",
        "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore._engine_map",
        "mlflow.system_metrics.metrics.cpu_monitor.CPUMonitor",
        "mlflow.system_metrics.metrics.disk_monitor.DiskMonitor",
        "mlflow.system_metrics.metrics.gpu_monitor.GPUMonitor",
        "mlflow.system_metrics.metrics.network_monitor.NetworkMonitor",
        "mlflow.utils.credentials.get_default_host_creds",
        "mlflow.utils.environment.warn_dependency_requirement_mismatches",
        "mlflow.utils.rest_utils.MlflowHostCreds",
        "mlflow.utils.rest_utils.http_request",
    ),
    "dagshub": (
        "dagshub.auth.add_oauth_token",
        "dagshub.auth.tokens.TokenStorage._load_cache_file",
    ),
}


@pytest.mark.parametrize(
    ("package", "part"), [(package, part) for package, parts in PARTS.items() for part in parts]
)
def test_a_private_part_is_there(package: str, part: str) -> None:
    assert found(part), (
        f"{package} {version(package)} has no {part} any more; asl_exp/compat uses it: find what "
        "took its place, or keep the version below this one in pyproject.toml"
    )


def found(part: str) -> bool:
    names = part.split(".")
    for end in range(len(names), 0, -1):
        try:
            thing = importlib.import_module(".".join(names[:end]))
        except ImportError:
            continue
        for name in names[end:]:
            if not hasattr(thing, name):
                return False
            thing = getattr(thing, name)
        return True
    return False


def test_the_check_sees_what_is_gone() -> None:
    assert not found("optuna.storages.no_such_function")
    assert not found("no_such_package.part")


def test_hydra_is_opened_beside_a_running_command(tmp_path: Path) -> None:
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    for name, value in (("main", 1), ("before", 2)):
        (tmp_path / name / "group").mkdir(parents=True)
        (tmp_path / name / "group" / "one.yaml").write_text(f"value: {value}\n")
    (tmp_path / "main" / "config.yaml").write_text("defaults: [group: one, _self_]\n")
    outer = GlobalHydra.instance().hydra
    with compat_hydra.opened(str(tmp_path / "main"), [f"file://{tmp_path / 'before'}"]):
        assert compose("config").group.value == 2, "Hydra no longer looks there first"
    with compat_hydra.opened(str(tmp_path / "main")):
        assert compose("config").group.value == 1
    assert GlobalHydra.instance().hydra is outer


def test_hydra_shares_its_store_and_hands_out_copies() -> None:
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    register_bases()
    store = ConfigStore.instance()
    assert copy.deepcopy([store])[0] is store
    with compat_hydra.opened(str(conf_dir())):
        sources = GlobalHydra.instance().config_loader().get_sources()
    assert store in [getattr(one, "store", None) for one in sources], "it has a store of its own"
    store.load("head/base.yaml").node.pooling = "changed"
    assert store.load("head/base.yaml").node.pooling != "changed", "what is loaded is what is kept"


def test_hydra_reads_choices_in_a_list_of_defaults_and_takes_no_others(tmp_path: Path) -> None:
    from hydra import compose
    from hydra._internal import defaults_list

    for group, option in (("model", "small"), ("data", "of_small"), ("data", "of_large")):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{option}.yaml").write_text(f"name: {option}\n")
    (tmp_path / "model" / "large.yaml").write_text("name: large\n")
    (tmp_path / "plain.yaml").write_text("defaults: [model: small, data: of_small, _self_]\n")
    read = "defaults: [model: small, data: 'of_${model}', _self_]\n"
    (tmp_path / "config.yaml").write_text(read)
    register_bases()
    with compat_hydra.opened(str(tmp_path)):
        assert compose("config").data.name == "of_small"
        assert compose("config", ["model=large"]).data.name == "of_large"
        assert compose("plain", ["model=large"]).data.name == "of_small"
    assert defaults_list._create_interpolation_map(None, [], False) is None, "made for nothing"


def outcome(name: str, words: list[str], **way: bool) -> list[object]:
    """Return what a composition comes to: text, choices, or the error."""
    try:
        config, choices = compat_hydra.composed(name, words, **way)
    except Exception as error:
        return [type(error), str(error)]
    return [OmegaConf.to_yaml(config), OmegaConf.is_struct(config), choices]


def test_what_is_composed_plainly_is_what_hydra_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every file in conf/, one of each group at a time."""
    options: dict[str, list[str]] = {}
    for file in sorted(conf_dir().glob("*/*.yaml")):
        options.setdefault(file.parent.name, []).append(f"{file.parent.name}={file.stem}")
    rows = [list(filter(None, row)) for row in zip_longest(*options.values())]
    assert sum(map(len, rows)) > 60
    register_bases()
    with compat_hydra.opened(str(conf_dir())):
        for words in [[], *rows]:
            by_hydra = outcome("config", words, with_hydras=True)
            assert len(by_hydra) == 3, by_hydra
            with monkeypatch.context() as patch:
                patch.setattr(compat_hydra, "compose", lambda *_, **__: pytest.fail("not plain"))
                assert outcome("config", words, with_hydras=False) == by_hydra, words


@pytest.mark.parametrize(
    ("main", "one", "words"),
    [
        ("a: {x: 1}", "{}", []),
        ("a: {x: 1, y: [1, {z: 2}]}", "x: 2\ny: [3]", []),
        ("{}", "x: 1", []),
        ("a: {x: {y: 1}}", "x: {z: 2}", []),
        ("a: {x: {y: 1}}", "x: null", []),
        ("a: {x: {y: 1}}", "x: 5", []),
        ("a: {x: null}", "x: {y: 1}", []),
        ("a: {x: '${b}'}\nb: {z: 3}", "x: {y: 1}", []),
        ("a: {x: [1]}", "x: {y: 1}", []),
        ("a: null", "x: 1", []),
        ("a: {x: 1}", "x: ???", []),
        ("a: {x: 1}", "# @package _global_\nx: 2", []),
        ("a: {x: 1}", "# @package b.c\nx: 2", []),
        ("a: {x: 1}", "1: {2: 3}\nyes: no\nx.y: 1e3", []),
        ("a: {x: 1}", "x: 0o17\ny: 1_000\nz: 12:30\nw: 2020-01-01\nv: .5", []),
        ("a: {x: ${b}}\nb: 2", "x: ${b}", []),
        ("a: {x: 1}", "defaults: [two, _self_]\nx: 2", []),
        ("a: {x: 1}", "defaults: [_self_, two]\nx: 2", []),
        ("a: {x: 1}", "defaults: [two]\nx: 2", ["a=two"]),
        ("a: {x: 1}", "x: 2\nhydra: {job: {name: n}}", []),
        ("hydra: {searchpath: ['pkg://hydra.conf']}", "x: 2", []),
        ("hydra: {job: {name: n}}", "x: 2", []),
        ("a: {x: 1}", "x: 2\nx: 3", []),
        ("a: {x: 1}", "x: [2", []),
        ("a: {x: 1}", "- 1", []),
        ("a: {x: 1}", "x: !!python/name:os.system", []),
        ("a: {x: 1}", "defaults: {a: b}", []),
        ("a: {x: 1}", "defaults: [nowhere]", []),
        ("a: {x: 1}", "x: 2", ["a=three"]),
        ("a: {x: 1}", "x: 2", ["a.x=3", "+b=4"]),
        ("a: {x: 1}", "x: 2", ["a.y=3"]),
        ("a: {x: 1}", "x: 2", ["~a"]),
        ("a: {x: 1}", "x: 2", ["a@b=two"]),
    ],
)
def test_whatever_files_say_is_composed_as_hydra_does(
    main: str, one: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "config.yaml").write_text(f"defaults: [_self_, a: one]\n{main}\n")
    (tmp_path / "a" / "one.yaml").write_text(one)
    (tmp_path / "a" / "two.yaml").write_text("x: 20\ntwo: true\n")
    register_bases()
    with compat_hydra.opened(str(tmp_path)):
        by_hydra = outcome("config", words, with_hydras=True)
        assert outcome("config", words, with_hydras=False) == by_hydra


@pytest.mark.parametrize(
    "text",
    ["x: 2\nx: 3", "x: [2", "x: !thing 2", "x: &a 1\ny: *a", "\tx: 1", "x: 'a\n\n  b'", "x: \x07"],
)
def test_yaml_is_read_and_refused_as_omegaconf_does(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.yaml").write_text(text)
    told: list[object] = []
    for loader in (hydra_plain.yaml_loader, hydra_plain._in_python):
        monkeypatch.setattr(_utils, "get_yaml_loader", loader)
        try:
            told.append(OmegaConf.load(tmp_path / "one.yaml"))
        except YAMLError as error:
            told.append(str(error))
    assert told[0] == told[1]


def test_launchers_are_loaded_when_one_is_named() -> None:
    for extra in ("joblib", "ray", "submitit"):
        pytest.importorskip(f"hydra_plugins.hydra_{extra}_launcher", reason="an extra is missing")
    steps = """
import sys
from asl_exp.compat import hydra
from asl_exp.config import compose
with compose.hydra_opened():
    names = [name for name in sys.modules if name.startswith("hydra_plugins.hydra_")]
    assert not [name for name in names if name.count(".") > 1], names
    config, choices = hydra.composed("config", [], with_hydras=False)
    assert choices["hydra/launcher"] == "basic"
    composed = compose.compose_parts(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert composed.faults == [], composed.faults
    composed = compose.compose_parts(["hydra/launcher=nix"])
    for name in ("basic", "joblib", "ray", "submitit_slurm"):
        assert name in composed.faults[0], composed.faults
"""
    subprocess.run([sys.executable, "-c", steps], check=True, timeout=120)


def test_what_a_check_is_spared_is_there_afterwards() -> None:
    steps = """
import sys
from asl_exp.compat.quick_start import checked_quickly
with checked_quickly():
    from hydra.core.config_store import ConfigStore
    from pydantic.plugin._loader import get_plugins
    assert list(get_plugins()) == []
    assert "attr" not in sys.modules
from pydantic.plugin import _loader
assert get_plugins is not _loader.get_plugins
assert ConfigStore.instance().load("hydra/config.yaml").node.job.chdir is None
import attr
from omegaconf import OmegaConf

@attr.s(auto_attribs=True)
class Settings:
    x: int = 1

assert OmegaConf.structured(Settings) == {"x": 1}
"""
    subprocess.run([sys.executable, "-c", steps], check=True, timeout=120)


def test_a_command_composes_what_it_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hydra
    from hydra._internal.hydra import Hydra

    (tmp_path / "config.yaml").write_text("value: 1\n")
    composed, seen, compose = [], [], Hydra.compose_config

    def counted(self, *given, **more):  # type: ignore[no-untyped-def]
        composed.append(more)
        return compose(self, *given, **more)

    register_bases()
    monkeypatch.setattr(Hydra, "compose_config", counted)
    monkeypatch.chdir(tmp_path)
    main = hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="config")
    for words in (["value=2"], ["--multirun", "value=3,4"]):
        monkeypatch.setattr(sys, "argv", ["test", *words])
        main(lambda config: seen.append(config.value))()
    assert seen == [2, 3, 4]
    assert len(composed) == 2, "once for the run and once for the grid"


def test_hydra_writes_a_choice_as_it_was_given() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    sweep = OverridesParser.create().parse_override("a='x y',[1,2],null,1e-3").value()
    assert [compat_hydra.as_written(one) for one in sweep.list] == [
        "'x y'",
        "[1,2]",
        "null",
        "0.001",
    ]  # type: ignore[union-attr]


def test_optuna_keeps_what_an_enqueued_trial_is_to_have() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5, "y": 1})
    study.ask().suggest_float("x", 0, 1)
    assert compat_optuna.enqueued_values(study.trials[0]) == {"x": 0.5, "y": 1}


def test_every_call_of_optunas_storage_is_handed_on() -> None:
    calls = []

    def count(call):  # type: ignore[no-untyped-def]
        calls.append(1)
        return call()

    inner = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=compat_optuna.calling(inner, count), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert [trial.number for trial in inner.get_all_trials(inner.get_study_id_from_name("s"))] == [
        0, 1, 2,
    ]  # fmt: skip
    assert len(calls) > 9
    assert compat_optuna.trial_id(inner, study, 2) == study.trials[2]._trial_id


def test_the_median_pruner_reads_no_more_of_a_study_than_the_stand_in_has() -> None:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for value in (0.8, 0.9, 0.7):
        trial = study.ask()
        trial.report(value, 0)
        study.tell(trial, value)
    for value, pruned in ((0.1, True), (0.95, False)):
        running = study.ask()
        running.report(value, 0)
        frozen = study.trials[running.number]
        assert compat_optuna.RecentTrials(study, 1.0).prunes(pruner, frozen) is pruned
        assert bool(pruner.prune(study, frozen)) is pruned


def test_optuna_says_nothing_while_it_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with compat_optuna.quiet():
            optuna.samplers.TPESampler(multivariate=True)
            optuna.logging.get_logger("optuna").warning("a remark")
    assert not caplog.records


def test_mlflows_monitors_are_asked_as_the_sampler_asks_them() -> None:
    for make in compat_mlflow.MONITORS:
        monitor = make()
        monitor.collect_metrics()
        assert monitor.aggregate_metrics()
        monitor.clear_metrics()
        assert not monitor.metrics


def test_mlflows_requests_take_what_the_replica_gives() -> None:
    taken = inspect.signature(compat_mlflow.http_request).parameters
    assert {"host_creds", "endpoint", "method", "max_retries", "raise_on_status", "timeout",
            "extra_headers"} <= taken.keys()  # fmt: skip
    login = compat_mlflow.MlflowHostCreds("http://a", username="u", password="p", token="t")  # type: ignore[no-untyped-call]
    assert (login.username, login.password, login.token) == ("u", "p", "t")


def test_a_shared_view_is_in_the_form_of_mlflows_ui() -> None:
    view = {"name": "n", "createdAt": 1, "updatedAt": 1, "state": {"orderByAsc": False}}
    ((tag, text),) = compat_mlflow.shared_view("key", view).items()
    assert tag == "mlflow.sharedViewState.key"
    kind, _, packed = json.loads(text)["state"].partition(";")
    assert kind == "deflate"
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == view["state"]


def test_torchs_base_of_normalisations_is_that_of_all_that_keep_statistics() -> None:
    import torch

    for layer in (torch.nn.BatchNorm2d(2), torch.nn.SyncBatchNorm(2), torch.nn.InstanceNorm1d(2)):
        assert isinstance(layer, compat_torch.NormBase)
    assert not isinstance(torch.nn.LayerNorm(2), compat_torch.NormBase)


def test_timms_models_are_read_from_its_sources() -> None:
    import timm

    ours = Path(asl_exp.__file__).parent / "model"
    missed = set(timm.list_models()) - compat_timm.registered_models(ours)
    assert not missed, f"timm {version('timm')} registers models in another way"
    assert compat_timm.registered_models(only="resnet50") == {"resnet50"}


def test_warnings_of_a_fit_that_are_no_news_are_kept_back_and_others_are_not() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with compat_lightning.without_known_warnings():
            warnings.warn("This dataloader is not resumable", stacklevel=1)
            warnings.warn("news", stacklevel=1)
    assert [str(one.message) for one in seen] == ["news"]


def test_dagshubs_client_logs_nothing_while_its_tokens_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dagshub.auth.tokens import TokenStorage

    from asl_exp.compat.dagshub import stored_token

    def load(_: object) -> dict[str, list[object]]:
        logging.getLogger("dagshub.auth.tokens").error("secret")
        return {}

    monkeypatch.setattr(TokenStorage, "_load_cache_file", load)
    assert stored_token("https://nowhere") is None
    assert not caplog.records


def test_what_a_start_is_spared_is_loaded_when_it_is_asked_for() -> None:
    """torchvision, timm, Lightning, MLflow, torch's optimizers want names of each of them."""
    steps = """
import sys
from asl_exp.compat.quick_start import load_quickly
load_quickly("timm", "pytorch_lightning", "mlflow")
import torch, torchvision
from lightning_fabric.wrappers import _unwrap_compiled
from asl_exp.training.optimizer import Nadam
network = torch.nn.Linear(3, 2)
optimizer = Nadam(network.parameters())
optimizer.zero_grad()
network(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist() == [2, 0, 1]
spared = ("torch._dynamo", "scipy.signal", "triton", "matplotlib", "fastapi")
loaded = [name for name in spared if name in sys.modules]
assert not loaded, f"asl_exp/compat/quick_start.py no longer spares {loaded}"
from mlflow.gateway.utils import HTTPException
import fastapi
assert isinstance(HTTPException(404), fastapi.HTTPException)
assert _unwrap_compiled(network) == (network, None)
compiled = torch.compile(network, backend="eager")
assert torch.equal(compiled(torch.ones(1, 3)), network(torch.ones(1, 3)))
assert _unwrap_compiled(compiled)[0] is network
assert torchvision.ops.roi_align.__module__ == "torchvision.ops.roi_align"
boxes = torch.tensor([[0, 0.0, 0.0, 2.0, 2.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 2).shape == (1, 1, 2, 2)
import scipy.signal, torchmetrics
from pytorch_lightning.utilities.model_summary import model_summary
from torch.utils.flop_counter import FlopCounterMode
counting = getattr(model_summary, "FlopCounterMode", FlopCounterMode)  # Lightning 2.5 has none
with counting(display=False) as counter:
    network(torch.ones(1, 3))
assert counter.get_total_flops() == 2 * 3 * 2
mean = torchmetrics.MeanMetric()
mean.update(1.0)
assert mean.plot()[0].axes, "torchmetrics draws what it measures"
assert scipy.signal.windows.hann(3)[1] == 1
print("done")
"""
    ended = subprocess.run(
        [sys.executable, "-c", steps], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "done\n", ended.stderr


def test_torchs_kernels_for_shapes_are_loaded_before_whatever_needs_them() -> None:
    """Each in a process that has only imported torch; whatever comes first finds all of them."""
    steps = """
import importlib, os, sys
from asl_exp.compat.quick_start import load_kernels, load_quickly
load_quickly("torch")
import torch
from torch._subclasses import FakeTensorMode
layer, image = torch.nn.Conv2d(3, 4, 3), torch.ones(1, 3, 8, 8)

def shape_on(device):
    load_kernels()
    with torch.device(device):
        return torch.nn.Conv2d(3, 4, 3)(torch.ones(1, 3, 8, 8)).relu().shape

def shape_of_fake():
    with FakeTensorMode():
        return torch.nn.Conv2d(3, 4, 3)(torch.ones(1, 3, 8, 8)).relu().shape

def slope():
    return torch.func.jvp(lambda x: layer(x).log_softmax(1).sum(), (image,), (image,))[1].shape

NAMES = ("_decomp.decompositions", "_refs.nn.functional", "_prims", "_refs", "utils._content_store")
WAYS = [lambda name=name: importlib.import_module("torch." + name) for name in NAMES]
WAYS += [lambda: shape_on("meta"), shape_of_fake, slope]
for way in WAYS:
    assert "torch._decomp" not in sys.modules and not hasattr(torch, "_meta_registrations")
    child = os.fork()
    if child == 0:
        try:
            answer = way()
            spec = sys.modules["torch._refs"].__spec__
            right = spec.origin == torch._refs.__file__ and len(torch._decomp.meta_table) > 100
            right &= answer in ((1, 4, 6, 6), ()) or hasattr(answer, "__file__")
            os._exit(0 if right else 3)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0, way
"""
    subprocess.run([sys.executable, "-c", steps], check=True, timeout=300)
