"""Command lines that people type: a sentence in our words, status 2, and nothing left behind."""

import shlex
import time
from pathlib import Path

import pytest
import yaml
from conftest import Cli, faults_of
from made_images import picture, save
from processes import ended

from asl_exp.__main__ import run
from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError
from asl_exp.config.keys import GROUPS, MEANT, usual_keys
from asl_exp.config.study_plan import check_overrides
from asl_exp.config.study_schema import SweepConfig


def said(words: str | list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a command line that is wrong says: status 2, no traceback, nothing made."""
    before = sorted(Path().rglob("*"))
    status = run(shlex.split(words) if isinstance(words, str) else words)
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert "Error" not in err
    assert sorted(Path().rglob("*")) == before, "a faulty command leaves nothing behind"
    return err


PATHS = (
    "a=b", "photos (2)", "[x]", "x[1", "a#b", "фотографии", "手話", "a b=c", "it's", 'say "x"',
    "a,b", "{a}", "a]b", "x(1", "~weird)", "back\\slash(1)", "C:\\photos(1)", "a:b=c",
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "path"),
    [
        *(("data.root", path) for path in PATHS),
        ("data.cache_dir", "a=b"),
        ("runs_dir", "x (1)"),
        ("backbone.weights", "веса=1.pth"),
        ("data.external", "[a=b]"),
    ],
)
def test_the_quoting_that_is_shown_is_what_works(key: str, path: str, folder: Path) -> None:
    words = ["data=folder", "data.root=photos"] if key != "data.root" else ["data=folder"]
    try:
        check_overrides([*words, f"{key}={path}"], multirun=False)
        return  # it can be read as it stands
    except ConfigError as error:
        faults = list(error.faults)
    if faults == [f"{key}: no file '{path}'"]:
        return
    (fault,) = faults
    advice = fault.rpartition("write ")[2] if "write '" in fault else fault.rpartition("text ")[2]
    (word,) = shlex.split(advice)
    config = compose_config([*words, word])
    value = config.model_dump()
    for part in key.split("."):
        value = value[part]
    assert value == ([path.strip("[]")] if key == "data.external" else path)


TYPED = (
    "a=b", "photos (2)", "a#b", "фотографии", "手話", "~/photos", "~user/x", "a:b=c", "$HOME/x",
    "C:\\photos", "2024", "007", "1e5", "true", "0.5", "-7",
)  # fmt: skip
"""Texts that Hydra's grammar takes for something else or for nothing, and can only be meant so."""


@pytest.mark.parametrize("text", TYPED)
def test_a_text_is_taken_as_it_is_typed(text: str, folder: Path) -> None:
    words = ["data=folder", f"data.root={text}", f"name={text}"]
    checked = check_overrides(words, multirun=False)
    assert checked is not None
    for config in (compose_config(words), checked.jobs[0]):
        assert config.data.root == config.name == text


def test_a_text_is_taken_as_it_is_typed_by_hydra(cli: Cli) -> None:
    root, name = "~/фото (2)#a=b", "007"
    words = ("data=folder", f"data.root={root}", f"name={name}", f"data.external=[x, {root}]")
    for shown in ("job", "all"):  # by our own reading of the command line, and by Hydra's
        composed = yaml.safe_load(cli(*words, "--cfg", shown).stdout)
        assert (composed["data"]["root"], composed["name"]) == (root, name)
        assert composed["data"]["external"] == ["x", root]


@pytest.mark.parametrize(
    "value", ["a,b", "[a", "[x]", "it's (1)", "=a", "${seed}(1)", "a seed=3", "x(1", "{a}"]
)
def test_a_text_that_could_mean_something_else_is_asked_about(value: str, folder: Path) -> None:
    (fault,) = faults_of("data=folder", "data.root=x", f"name={value}")
    assert fault.startswith("name: ")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("data.classes=[A,B", "data.classes: '[A,B' cannot be read; close every bracket"),
        ("data.external=others]", "data.external: 'others]' cannot be read; close every bracket"),
        ("head.hidden=[8,8", "head.hidden: '[8,8' cannot be read"),
        ("seed=(1", "seed: '(1' cannot be read"),
        ("lr.transfer=1e-3)", "lr.transfer: '1e-3)' cannot be read"),
        ("data.batch_size={", "data.batch_size: '{' cannot be read"),
        ("optimizer.betas=[.9", "optimizer.betas: '[.9' cannot be read"),
        ("experiment", "write experiment=CHOICE"),
        ("best.yaml", "experiment=FILE.yaml"),
        ("photos", "given as data=folder data.root=photos, an unfinished run by resume=photos"),
        ("my photos", "given as data=folder 'data.root=my photos'"),
        ("lr.transfer=interval(a,b)", "cannot be read; write one value"),
        ("lr.transfer=choice()", "cannot be read; write one value"),
        ("seed=1,,2", "cannot be read; write one value"),
        ("seed=½°", "cannot be read; write one value"),
        ("seed=sort(3,1,reverse=treu)", "cannot be read; write one value"),
        ("seed=1'2", "close every bracket and quote"),
        ("optimizer=a=b", "optimizer=a=b: no such choice; allowed: adamw"),
        ("дата=3", "is not of the form key=value"),
    ],
)
def test_what_is_no_value_is_said_once(word: str, told: str, folder: Path) -> None:
    for photos in ("photos", "my photos"):
        (folder / photos).mkdir()
    (fault,) = faults_of(word)
    assert told in fault
    assert '="[' not in fault, "a list in quotes is a text"


GRIDS_THAT_WORK = (
    ["data=folder", "data.root=a,b"],
    ["data=folder", "data.root=choice(a,b)", "seed=1,2"],
    ["data=folder", "data.root=a", "data.split=leave_out", "data.leave_out=[s1],[s2]"],
    ["data=manifest", "data.manifest=a.csv,b.csv"],
    ["optimizer=sgd", "optimizer.momentum=0.9,0.5"],
    ["tracking=server", "tracking.uri=http://a:1,http://b:1"],
    ["backbone=glob(vgg*)"],
    ["experiment=glob(paper_*)"],
    ["seed=range(1,4)"],
    ["optimizer=glob(*)"],
    ["data=folder", 'data.root="a b","c (d)"'],
    ['name="x,y",z'],
    ["data.classes=['A','B'],['C','D']"],
    ["seed=range(5,1,-2)"],
    ["seed=shuffle(range(1,4))"],
    ["optimizer.betas=[0.9,0.99],[0.8,0.9]"],
)


@pytest.mark.parametrize("words", GRIDS_THAT_WORK, ids=" ".join)
def test_a_grid_may_give_what_the_base_lacks(words: list[str], folder: Path) -> None:
    checked = check_overrides(words, multirun=True)
    assert checked is not None
    assert len(checked.jobs) > 1
    assert not any("quote" in str(job.model_dump()) for job in checked.jobs)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=range(1,100000000)"], "a grid of 99,999,999 jobs"),
        (["regularization.dropout=range(0,1,1e-7)"], "one command starts at most 10,000"),
        (["seed=shuffle(range(1,10000000))"], "a grid of 9,999,999 jobs"),
        (["seed=range(1,200)", "lr.transfer=range(0.001,0.9,0.001)"], "a grid of 178,901 jobs"),
        (["seed=range(0,10000)", "backbone=vgg16,vgg19"], "a grid of 20,000 jobs"),
        (["seed=range(1,2,0)"], "no value lies in this range"),
        (["seed=range(3,1)"], "no value lies in this range"),
        (["seed=range(1,10,-1)"], "no value lies in this range"),
        (["seed=range(1,inf)"], "or endless many"),
        (["sweep=nadam_l2_dropout,learning_rates"], "one command is one study"),
        (["sweep=glob(*)"], "one command is one study"),
        (["sweep=choice(nadam_l2_dropout)"], "one command is one study"),
        (["sweep=backbones", "sweep=learning_rates"], "one command is one study"),
        (["sweep=learning_rates", "lr.transfer=range(0.001,9,1e-9)"], "a grid of"),
        (["sweep=learning_rates", "lr.transfer=range(0.001,9,0.001)"], "points, which are at most"),
        (["lr=glob([)"], "lr=glob([): no such choice; allowed: constant"),
        (["optimizer=a=b,sgd"], "no such choice"),
    ],
)
def test_grids_without_values_or_with_too_many(words: list[str], told: str, folder: Path) -> None:
    began = time.process_time()
    (fault,) = faults_of(*words, multirun=True)
    assert told in fault
    assert time.process_time() - began < 2


def test_a_range_that_was_not_asked_for_is_not_listed(folder: Path) -> None:
    (fault,) = faults_of("seed=range(1,100000000)")
    assert "got several values" in fault


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lr.transfer=interval(1e-4,1e-3)"], "searched by a study alone"),
        (["seed=int(interval(1,9))"], "searched by a study alone"),
        (["lr.transfer=tag(log,interval(1e-4,1e-3))"], "searched by a study alone"),
        (["data.root=glob(*)", "data=folder"], "is no group"),
        (["backbone=glob(nothing*)"], "matches no choice"),
        (["sweep=nadam"], "sweep=nadam: no such choice; did you mean 'nadam_l2_dropout'?"),
        (["data=folder,synthetic", "data.root=a"], "data.source=synthetic does not read it"),
        (["data=folder", "data.root=a", "optimizer=adamw,sdg"], "did you mean 'sgd'?"),
        (["lr.transfer=1e-3,-1"], "got -1"),
    ],
)
def test_what_a_grid_cannot_have(words: list[str], told: str, folder: Path) -> None:
    faults = faults_of(*words, multirun=True)
    assert any(told in fault for fault in faults), faults
    assert not any("not given" in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("lr.finetune=${lr.shape}", "lr.finetune: got 'constant' (from ${lr.shape})"),
        ("name=${data}", "name: got {"),
        ("seed=${backbone.name}", "seed: got 'efficientnet_b0'"),
        ("lr.finetune=${lr.finetune}", "lr.finetune: refers to itself"),
        ("lr.transfer=${lr.tranfer}", "refers to no key; did you mean 'lr.transfer'?"),
        ("head.hidden=${lr.transfer}", "head.hidden: got 0.001"),
        ("name=run-${seed}-${lr}", "refer to a key, ${lr.KEY}"),
        ("name=${data.synthetic}/x", "refer to a key, ${data.synthetic.KEY}"),
        ("data.cache_dir=/tmp/${optimizer}", "refer to a key, ${optimizer.KEY}"),
        ("head.hidden=${head}", "refers to the group that it is in"),
        ("data.classes=${optimizer.betas}", "data.classes: got [0.9, 0.999]"),
        ("trainer.devices=${trainer.precision}", "trainer.devices: got '32-true'"),
    ],
)
def test_a_reference_to_the_wrong_thing_is_a_fault(word: str, told: str, folder: Path) -> None:
    (fault,) = faults_of(word)
    assert told in fault


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("seed=4294967296", "seed"),
        ("seed=-1", "seed"),
        ("data.split_seed=1e12", "data.split_seed"),
        ("data.synthetic.seed=99999999999", "data.synthetic.seed"),
        ("backbone.mean=[nan,0,0]", "backbone.mean.0"),
        ("backbone.mean=[-0.1,0,0]", "backbone.mean.0"),
        ("backbone.mean=[123.7,116.3,103.5]", "backbone.mean.0"),
        ("backbone.std=[0,1,1]", "backbone.std.0"),
        ("backbone.std=[1,inf,1]", "backbone.std.1"),
        ("backbone.std=[1,1,-1]", "backbone.std.2"),
        ("backbone.std=[1e-320,1,1]", "backbone.std.0"),
        ("lr.transfer=1e308", "lr.transfer"),
        ("lr.finetune=1e31", "lr.finetune"),
        ("schedule.finetune.lr=1e31", "schedule.finetune.lr"),
        ("head.hidden=[1000000000000]", "head.hidden.0"),
        ("head.hidden=[65536,65536]", "head.hidden"),
        ("data.synthetic.signers=100000000", "data.synthetic.signers"),
        ("data.synthetic.images_per_letter=50000", "data.synthetic"),
        ("trainer.devices=1000000", "trainer.devices"),
        ("trainer.num_nodes=100000", "trainer.num_nodes"),
        ("data.batch_size=1000000000000", "data.batch_size"),
        ("data.workers=1000000", "data.workers"),
        ("schedule.transfer.epochs=10000000000", "schedule.transfer.epochs"),
        ("trainer.accumulate=10000000000", "trainer.accumulate"),
    ],
)
def test_absurd_numbers_are_refused(word: str, key: str, folder: Path) -> None:
    faults = faults_of(word)
    assert any(fault.startswith(f"{key}:") for fault in faults), faults


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("backbone.name=asl_small_cnn.nope", "it has none"),
        ("backbone.name=resnet18.a1_in2k", "did you mean 'a1_in1k'?"),
        ("backbone.name=hf-hub:timm/resnet18.a1_in1k", "write backbone.name=resnet18.a1_in1k"),
        ("backbone.name=hf_hub:timm/resnet18", "write backbone.name=resnet18"),
        ("backbone.name=timm/resnet18.a1_in1k", "write backbone.name=resnet18.a1_in1k"),
        ("backbone.name=https://huggingface.co/timm/vgg16.tv_in1k", "write backbone.name=vgg16"),
        ("backbone.name=hf-hub:google/vit-base", "no address and no folder"),
        ("backbone.name=local-dir:/tmp/x", "no address and no folder"),
        ("backbone.name=../x", "a name of timm is letters"),
        ("backbone.name=", "a name of timm is letters"),
        ("backbone.options.features_only=true", "leave it out"),
        ("backbone.options.in_chans=1", "backbone.options.in_chans: images have three channels"),
        ("backbone.options.num_classes=3", "the classes are those of the data"),
        ("backbone.options.exportable=true", "leave it out"),
        ("backbone.options.global_pool=max", "write head.pooling"),
        ("backbone.options.checkpoint_path=x.pth", "backbone.weights=FILE"),
        ("backbone.options.pretrained=true", "backbone.weights=FILE"),
        ("backbone.options.pretrained_cfg=x", "backbone.weights=FILE"),
        ("backbone.options.cache_dir=x", "backbone.weights=FILE"),
        ("backbone.options.device=cuda", "write trainer.accelerator"),
        ("backbone.options.drop_path_rate=nan", "must be a number of 0 to 0.99"),
        ("backbone.options.drop_block_rate=2", "must be a number of 0 to 0.99"),
        ("backbone.options.bn_momentum=5", "must be a number of 0 to 1"),
        ("backbone.options.bn_eps=1e308", "must be a number of 1e-12 to 1"),
        ("backbone.options.depth=100000", "must be a number of 0 to 512"),
        ("backbone.options.embed_dim=1000000000", "must be a number of 0 to 8192"),
        ("backbone.options.reg_tokens=-1", "must be a number of 0 to 8192"),
        ("backbone.options.init_values=nan", "must be a number of 0 to 8192"),
        ("backbone.options.mlp_ratio=inf", "must be a number of 0 to 8192"),
        (
            "backbone.options.layers=[3,4,6,3]",
            "options.layers: got [3, 4, 6, 3]; must be true or false",
        ),
        ("backbone.options.block_args={a: 1}", "options.block_args: got {'a': 1}; must be true"),
        (
            "backbone.options.pretrained_cfg.url=x",
            "backbone.options.pretrained_cfg: got {'url': 'x'",
        ),
        ("backbone.options.img_size=64", "write backbone.image_size"),
        ("backbone=resnet18", "write backbone.name=resnet18"),
    ],
)
def test_networks_that_are_none(word: str, told: str, folder: Path) -> None:
    (fault,) = faults_of(word)
    assert told in fault


@pytest.mark.parametrize("given", ["nowhere", ":29500", "host:", "host:0", "host:99999", "a b:1",
                                   "a..b:1", "999.1.1.1:1", "0.0.0.0:1", "1.2.3:1", "tcp://a:1",
                                   "http://host:1", "host:12x", "-x:1", "host:1:2"])  # fmt: skip
def test_a_rendezvous_is_an_address(given: str, folder: Path) -> None:
    faults = faults_of(f"trainer.rendezvous='{given}'", "trainer.num_nodes=2")
    assert any("must be host:port" in fault for fault in faults), faults


@pytest.mark.parametrize("given", ["..", ".", "' '", "'a\tb'", "x" * 300, "'a\x1b[31m'"])
@pytest.mark.parametrize("key", ["tracking.experiment", "name"])
def test_names_can_be_shown_and_stored(key: str, given: str, folder: Path) -> None:
    assert faults_of(f"{key}={given}")[0].startswith(f"{key}:")


HABITS = (
    ("--lr 0.001", "settings are KEY=VALUE, without dashes, --help lists all; did you mean 'lr.tr"),
    ("--epochs=10", "did you mean 'schedule.transfer.epochs' or 'schedule.finetune.epochs'"),
    ("--batch-size 32", "did you mean 'data.batch_size'?"),
    ("--seed 5", "write seed=VALUE"),
    ("--dry-run", "did you mean 'debug=fast'?"),
    ("model=resnet50", "did you mean 'backbone.name'?"),
    ("optimizer.lr=1e-3", "did you mean 'lr.transfer'?"),
    ("lr=1e-3", "write lr.transfer=0.001 lr.finetune=0.001"),
    ("optimizer=adam", "did you mean 'adamw'?"),
    ("lr_scheduler=cosine", "did you mean 'lr.shape'?"),
    ("trainer.strategy=ddp", "did you mean 'trainer.devices'?"),
    ("trainer.gradient_clip_val=1", "did you mean 'optimizer.clip_norm'?"),
    ("trainer=gpu", "write trainer.accelerator=gpu"),
    ("debug=true", "did you mean 'fast'?"),
    ("augmentation=null", "did you mean 'none'?"),
    ("tracking=null", "did you mean 'off'?"),
    ("tracking=http://localhost:5000", "write tracking=server tracking.uri=http://localhost:5000"),
    ("logger=wandb", "did you mean 'tracking'?"),
    ("data=./photos", "write data=folder data.root=./photos"),
    ("data=photos.csv", "write data=manifest data.manifest=photos.csv"),
    ("data.path=photos", "did you mean 'data.root'?"),
    ("data.val_split=0.2", "did you mean 'data.val_fraction'?"),
    ("data.split=kfold", "cross-validation is data.folds"),
    ("Experiment=demo", "did you mean 'experiment'?"),
    ("+experiment=demo", "write experiment=demo"),
    ("~lr", "~lr: a group is not left out; choose of it: constant, cosine, plateau"),
    ("demo", "did you mean experiment=demo?"),
    ("experiment:demo", "write experiment=demo"),
    ("experiment==demo", "write experiment=demo"),
    ("' experiment=demo'", "write experiment=demo"),
    ("train data=synthetic", "--help lists all there are\n"),
    ("lr.transfer=1e\u22123", "write lr.transfer=1e-3"),
    ("lr.transfer=\uff11e-3", "write lr.transfer=1e-3"),
    ("lr.transfer\uff1d1e-3", "write lr.transfer=1e-3"),
    ("data.classes=A\u2013I", "write data.classes=A-I"),
    ("data.classes=[A\uff0cB]", "write 'data.classes=[A,B]'"),
    ("data.split=\u201cgroup\u201d", "write 'data.split=\"group\"'"),
    ("data.classes=[A, B]", "a blank ends a word; write 'data.classes=[A,B]'"),
    ("data.classes=[A B C]", "a blank ends a word; write 'data.classes=[A,B,C]'"),
    ("lr.transfer=1e-3, 1e-4 -m", "a blank ends a word; write lr.transfer=1e-3,1e-4"),
    ("regularization.dropout=20%", "write regularization.dropout=0.2"),
    ("backbone=timm/resnet18", "write backbone.name=resnet18"),
    ("backbone.name=resnet-50", "did you mean 'resnet50'?"),
    ("backbone.weights=imagenet", "ImageNet's weights are backbone.pretrained=true"),
    ("resume=yes", "resume=true goes on with the newest unfinished run"),
    ("resume=1", "resume=true goes on with the newest unfinished run"),
    ("trainer.rendezvous=29500", "got '29500'; must be host:port of the first machine"),
    ("sweep=learning_rates -m sweep.sampler=random", "write sweep.sampler.name=random"),
)


def test_what_other_programs_call_a_key_leads_to_a_key_that_there_is() -> None:
    known = {*usual_keys(), *GROUPS, *(f"sweep.{key}" for key in SweepConfig.model_fields)}
    lost = {word: key for word, key in MEANT.items() if key.partition("=")[0] not in known}
    assert lost == {}
    assert set(MEANT) & set(known) <= set(GROUPS), "what is a key here means itself"


@pytest.mark.parametrize(("words", "told"), HABITS)
def test_habits_from_other_programs_are_told_the_way_here(
    words: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told_all = said(words, capsys)
    assert told in told_all
    assert told_all.count("\n") == 2 or words.startswith("resume"), "one fault, told once"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--config-name other", "--config-name: the configuration is asl_exp's own"),
        ("--config-path=/tmp", "--config-path: the configuration is asl_exp's own"),
        ("-cn other", "--config-name: the configuration is asl_exp's own"),
        ("-sc install=fish", "--shell-completion: give install=bash or install=zsh"),
        ("-sc", "--shell-completion: give install=bash or install=zsh"),
        ("--experimental-rerun x.pickle", "--experimental-rerun"),
        ("--package nope --cfg job", "--package: no group 'nope'"),
        ("--package lr", "--package: belongs to --cfg job"),
        ("--resolve", "--resolve: belongs to --cfg job"),
        ("--cfg jobs", "--cfg: give what to show"),
        ("--cfg", "--cfg: give what to show"),
        ("--multirun --cfg job seed=1,2", "--cfg job: this grid"),
        ("--multirun --cfg all seed=1,2", "--cfg all: this grid"),
        ("--multirun --cfg hydra seed=1,2", "--cfg hydra: this grid"),
        (
            "--multirun --cfg job sweep=nadam_l2_dropout 'lr.transfer=interval(1e-4,1e-3)'",
            "--cfg job: a study is shown before a trial has its values",
        ),
        ("--resolve --cfg hydra", "--resolve: belongs to --cfg job"),
        ("--package lr --cfg all", "--package: belongs to --cfg job"),
        ("--help=lr", "write the key or group after a blank"),
        ("--multirn seed=1,2", "did you mean '--multirun'?"),
        ("--run --multirun seed=1,2", "leave one of the two out"),
        ("-seed=3", "begins with '-'"),
        ("--help data.rot", "did you mean 'data.root'?"),
        ("dropout=0.3", "did you mean 'regularization.dropout'?"),
        ("epochs=3", "did you mean 'schedule.transfer.epochs' or 'schedule.finetune.epochs'"),
        ("data.epochs=3", "did you mean 'schedule.transfer.epochs'"),
        ("learning_rate=3", "did you mean 'lr.transfer'?"),
        ("schedule.transfer.features=always data.store=off", "always needs stored pixels"),
        ("data=folder data.root=nowhere", "there is no folder 'nowhere'"),
        ("data=manifest data.manifest=nowhere.csv", "nowhere.csv"),
        ("--multirun data=folder data.root=a,b", "there is no folder 'a'"),
        ("data=folder data.root=nowhere runs_dir=made", "there is no folder 'nowhere'"),
        ("experiment=..", "experiment=..: no such choice"),
        ("hydra.run.dir=/dev/null/run", "hydra.run.dir: cannot write"),
        ("--config-dir nowhere", "--config-dir: no folder 'nowhere'"),
    ],
)
def test_options_and_keys_are_answered_in_our_words(
    words: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in said(words, capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--version"], "asl_exp "),
        (["--help", "lr"], "warmup_epochs"),
        (["--help", "regularization.dropout"], "after each hidden layer"),
        (["seed=1", "--cfg", "job", "lr.transfer=0.5"], "transfer: 0.5"),
        (["--cfg", "job", "--package", "lr"], "# @package lr"),
        (["--multirun", "--cfg", "job", "seed=3"], "seed: 3"),
    ],
)
def test_what_is_shown_needs_no_run(
    words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 0
    assert told in capsys.readouterr().out
    assert not list(folder.iterdir())


SLIPS = {
    "=3": "'=3': begins with '='; write KEY=VALUE without blanks",
    "=": "'=': begins with '='",
    " ": "an empty word among the arguments",
    "SEED=3": "did you mean 'seed'?",
    "DATA.ROOT=x": "did you mean 'data.root'?",
    "optimizer=SGD": "did you mean 'sgd'?",
    "+seed=3": "+seed: the key is there already; write seed=3",
    "+data.root=x": "write data.root=x",
    "sweep.n_trials=3": "add --multirun and sweep=NAME",
    "+sweep.storage=sqlite:///x.db": "add --multirun and sweep=NAME",
    "data@x=folder": "write data=folder",
    "+lr@optimizer=cosine": "write lr=cosine",
    "lr.transfer=0,001": "for one number lr.transfer=0.001",
    "regularization.l2=0,5": "for one number regularization.l2=0.5",
    "seed=0,1": "for a list write seed=[...]",
    "lr={transfer:0.1}": "given one by one, lr.KEY=VALUE",
    "lr.warmup_epochs=1e30": "lr.warmup_epochs: got 1e+30",
    "schedule.transfer=5": "those of a phase (--help schedule)",
    "+schedule.x-y={trainable:all,epochs:1,lr:1,monitor:val/loss}": "be named by small",
    "hydra.mode=MULTIRUN": "write --multirun for a grid",
    "hydra.searchpath=[pkg://os]": "write --config-dir FOLDER",
    "hydra/sweeper=basic": "choose a study by sweep=NAME",
    "hydra.sweeper.params.seed=1,2": "has one value for all jobs",
    "hydra.job.chdir=true": "stay in the folder where they are typed",
    "+hydra.job.env_set.LD_PRELOAD=x": "of Hydra's own keys these are: hydra.run.dir",
    "+hydra.callbacks.x._target_=os.mkdir": "is not changed here",
    "+hydra.callbacks={x:{_target_:os.mkdir,path:made}}": "is not changed here",
    "hydra.launcher._target_=os.mkdir": "is not changed here",
    "hydra/job_logging=nope": "is not changed here",
    "hydra/launcher=jobli": "did you mean 'joblib'?",
    "hydra.run.dir=": "hydra.run.dir: got ''; give a folder",
    "hydra.run.dir=.": "hydra.run.dir: '.' is the folder where the command is typed",
    "hydra.sweep.dir=../..": "hydra.sweep.dir: '../..' is the folder where the command",
    "hydra.sweep.dir=a,b": "has one value for all jobs",
    "~hydra.run": "keys cannot be deleted",
}
"""Words of one command line, each with the fault that is said of it."""


def test_slips_of_the_hand_get_what_was_meant_all_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = said([*SLIPS, "hydra/launcher=sge"], capsys)
    assert [told for told in SLIPS.values() if told not in err] == []
    assert f"{len(SLIPS) + 1} faults in the configuration" in err
    assert "hydra/launcher=sge: no such launcher; there are basic" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("experiment=demo experiment=anyone", "one preset is taken, not 2"),
        ("backbone.options._target_=os.mkdir", "is no argument of timm.create_model"),
        ("hydra.launcher.nope=3", "hydra.launcher.nope: unknown key"),
        ("seed=${oc.env:NO_SUCH_SEED}", "the environment has no variable 'NO_SUCH_SEED'"),
        ("name=${hydra:runtime.cwd}", "is known to Hydra alone"),
        ("lr.transfer=${lr}", "refers to the group that it is in"),
        ("--multirun", "nothing is asked for"),
        ("--multirun --", "nothing is asked for"),
        ("--multirun=true seed=1", "--multirun: is a switch and takes no value"),
        ("-M seed=1", "did you mean '-m' (--multirun)?"),
        ("--hydra-help seed=1", "give it alone"),
        ("resume=nowhere", "resume: 'nowhere' is no run folder"),
    ],
)
def test_what_stops_before_the_rest_is_said_too(
    words: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in said(words.split(), capsys)


@pytest.mark.parametrize("asked", ["sweep", "sweep.sampler.name", "experiment", "schedule", "hand"])
def test_help_knows_every_group(
    asked: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--help", asked]) == 0
    told = capsys.readouterr().out
    assert told.startswith(asked.partition(".")[0])
    assert "<class" not in told


@pytest.mark.parametrize("path", ["x" * 300, "y/" * 2200, "~nobody_of_that_name/x", "a\x00"])
def test_paths_that_no_system_has_are_a_sentence(path: str, folder: Path) -> None:
    word = f'"{path}"'
    said_of = "\n".join(
        faults_of("hand=joints", "hand.on_missing=reject", f"hand.model={word}",
                  f"data.joints=[{word}]")
        + faults_of(f"backbone.weights={word}")
        + faults_of(f'experiment="{path}.yaml"')
    )  # fmt: skip
    for key in ("hand.model", "data.joints", "backbone.weights", "experiment"):
        assert f"\n{key}" in f"\n{said_of}"


@pytest.mark.parametrize(
    "words", ["resume=LONG", "--config-dir LONG seed=1", "predict . LONG", "sync all LONG=3"]
)
def test_every_door_answers_a_path_that_is_too_long(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asl_exp import predict, sync

    arguments = words.replace("LONG", "x" * 300).split()
    doors = {"predict": predict.main, "sync": sync.main}
    door = doors.get(arguments[0], run)
    assert door(arguments[1:] if door is not run else arguments) == 2
    assert "file name too long" in capsys.readouterr().err


def test_numbers_are_classes_and_sort_as_numbers(folder: Path) -> None:
    for name in ("10", "2", "9", "1"):
        for number in range(6):
            save(picture(number), folder / "digits" / name / f"{number}.png")
    from asl_exp.data.sources.selection import list_images

    given = ("data=folder", "data.root=digits")
    assert list_images(compose_config(given).data).classes == ("1", "2", "9", "10")
    for asked in ("[1,10,2]", "['1','10','2']", "1\\,10\\,2"):
        config = compose_config((*given, f"data.classes={asked}"))
        assert list_images(config.data).classes == ("1", "10", "2")
    assert list(compose_config((*given, "data.classes=0-9")).data.classes or "") == list("0-9")


@pytest.mark.parametrize(
    "option",
    [
        "widht=2",
        pytest.param("act_layer=os.mkdir", marks=pytest.mark.heavy),
        pytest.param("stem_type=nope", marks=pytest.mark.heavy),
    ],
)
def test_options_of_a_network_are_refused_before_images_are_looked_at(
    option: str, tmp_path: Path
) -> None:
    done = ended(tmp_path, "backbone.name=resnet18", "backbone.pretrained=false",
                 f"backbone.options.{option}", "data.classes=A-C")  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"'{option.partition('=')[0]}'" in done.stderr or "backbone.options." in done.stderr
    assert "drawing" not in done.stderr
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt"}, "what it said alone"


@pytest.mark.heavy
def test_a_late_data_error_leaves_no_folder(tmp_path: Path) -> None:
    for name in "AB":
        for number in range(8):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no image at all")
    done = ended(tmp_path, "data=folder", "data.root=photos", "backbone.name=asl_small_cnn",
                 "backbone.pretrained=false", "backbone.image_size=32")  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot be read" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_what_is_typed_first_is_answered_with_what_to_type(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "python -m asl_exp experiment=demo" in said([], capsys)
