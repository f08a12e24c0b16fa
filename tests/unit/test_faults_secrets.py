"""Secrets where they do not belong, names that a spreadsheet runs, weights of another kind."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError, WeightsError
from asl_exp.config.redact import holds_secret, scrubbed
from asl_exp.config.schema import BackboneConfig
from asl_exp.config.study_plan import check_overrides
from asl_exp.model.backbone import build_backbone

TOKENS = (
    "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx",
    "ghp_" + "a1" * 18,
    "github_pat_" + "b2" * 20,
    "glpat-" + "c3" * 10,
    "sk-" + "d4" * 20,
    "AKIA" + "ABCDEFGH12345678",
    "0123456789abcdef" * 2 + "01234567",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefg",
    "xoxb-" + "1234567890ab",
    "http://me:mine@host/x",
    "https://host/?token=abcdef123456",
    "password=geheim123",
)
MORE_TOKENS = (
    "npm_" + "a1B2" * 9,
    "pypi-AgEIcHlwaS5vcmc" + "x7" * 20,
    "SG." + "a1" * 11 + "." + "b2" * 20,
    "ya29." + "a1" * 30,
    "xapp-1-A012-" + "1a" * 10,
    "dckr_pat_" + "a1" * 14,
    "sk_live_" + "a1" * 12,
    "ASIA" + "ABCDEFGH12345678",
    "Authorization: Bearer abcdefgh12345678",
    "Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "me:geheim123@host.example.org",
    "https://bucket/x?X-Amz-Signature=aaaabbbb11112222",
    "https://account/x?sv=1&sig=abcdefg1234567",
    "postgresql://h/d?user=u&password=geheim12",
    "pwd=abcd12345678",
    "password = geheim1234",
    "api-key: abc123456789",
    "hf_token=abc123456789",
    "AccountKey=" + "Zm9vYmFyYmF6cXV4" * 2 + "MTIzNA==",
    "https://hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/" + "abC1" * 6,
    "https://discord.com/api/webhooks/123456789012345678/" + "abC1" * 12,
    "123456789:AA" + "f1B2" * 9,
    "GOCSPX-" + "a1B2" * 7,
    "api_org_" + "aBc1" * 8,
    "glrt-" + "a1B2" * 5,
    "dop_v1_" + "a1b2" * 16,
    "KGAT_" + "a1b2" * 8,
    '{"username":"me","key":"' + "a1b2" * 8 + '"}',
    "KAGGLE_KEY=" + "a1b2" * 8,
    "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,A\n\nMIIEowIBAAKCAQEA1234\n-----END x",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF1abc2345\n-----END",
    "machine dagshub.com login me password geheim1234",
    "--password geheim1234",
    "MLFLOW_TRACKING_PASSWORD=hunter12!x",
    'password = "correct-horse-1"',
    "https://me:geheim/ss1234@host.org/x",
    "curl -u me:geheim1234 https://x",
    "Authorization: token abcdefgh12345678",
    "client_secret=abc~DEF.123456",
    "a vendor's own: " + "x7Yq" * 9,
    "lsv2_pt_" + "a1b2" * 8 + "_" + "a1b2" * 2,
    "sbp_" + "a1b2" * 10,
    "glsa_" + "a1B2" * 8 + "_a1b2c3d4",
    "sq0atp-" + "a1B2_" * 5,
    "pat-na1-a1b2c3d4-e5f6-0789-a1b2-c3d4e5f60789",
    "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7,
    "Bearer:" + "a1b2" * 8,
    "aws_secret_access_key = " + "abcd" * 10,
    "huggingface-cli login --token " + "abcd" * 6,
    "curl --user me:geheim1234 https://x",
)
ASSIGNED = (
    'os.environ["SECRET"] = "{}"',
    "os.environ['DB_PASSWORD']='{}'",
    'my_token: str = "{}"',
    "HF_TOKEN: Final[str] = '{}'",
    'secret_key = b"{}"',
    "passphrase = '{}'",
    'pw = "{}"',
    'pass_word = "{}"',
    '"pass": "{}"',
    '"refreshToken": "{}"',
    'access_token="{}"',
    "export TOKEN={}",
    "set HF_TOKEN={}",
    "export API_KEY='{}'",
    "  password: {}",
    "client_secret: {}",
    "passwd: {}",
    "machine h login me password {}",
    "--password '{}'",
    'wandb.login(key="{}")',
    "add_app_token('{}')",
    'auth=("me", "{}")',
    "requests.get(url, auth=('me','{}'))",
    "auth = [user, '{}']",
    '"auth": ("me@example.org", "{}")',
    "HTTPBasicAuth('me', '{}')",
    "HTTPDigestAuth(os.environ['WHO'], '{}')",
    'smtp.login("me@example.org", "{}")',
    "Cookie: session={}",
    "x-api-key: {}",
    "PRIVATE-TOKEN: {}",
    "sshpass -p {} ssh host",
    "mysql -u -p{} base",
    "https://detect.example.org/hands/1?api_key={}",
    "https://host/x?access_token={}&n=1",
    '{{"auths":{{"registry":{{"auth":"{}"}}}}}}',
    "set-cookie: sid={}; Path=/",
)
"""Where letters alone are a secret."""
PLAIN = (
    "photos of hands",
    "token",
    "/home/me/hub/models--x/snapshots/0123456789abcdef0123456789abcdef01234567/model.safetensors",
    "efficientnet_b0 synthetic l2=0.001 dropout=0.5 seed=2",
    "sk-learn",
    "hf_model",
    "me@example.org",
    "tokenizer=bert12345678",
    "run-2024-token-study",
    "C:/photos/a@b.example.org",
    "12:30 me@example.org",
    "keys=abc123456789",
    "password",
    "EfficientNetB0_32px_3ep_2phase_seed0",
    "TestEfficientNetV2B1Features",
    "the run 0123456789abcdef0123456789abcdef",
    "sha256:" + "a1b2" * 16,
    "A12_jpg.rf.0123456789abcdef0123456789abcdef.jpg",
    "https://host:5000/a@b",
    "password=None",
    "def passphrase(x: str) -> str:",
    "password: str",
    'secret = os.environ["SECRET"]',
    'token: str = ""',
    'key = "val/accuracy"',
    'pass_through = "yes"',
    'secretary = "Ann"',
    'auth=("me", os.environ["P"])',
    'author=("Ann", "Bo")',
    'if token == "A":',
    "a_token: int = 3",
    '"max_token": "2048"',
    'pad_token = "<pad>"',
    "--token is taken from the environment",
    "run_0123456789abcdef0123456789abcdef",
    "https://host/x?api=1&keys=2",
    "mysql -u me -p base",
    "secret_access_key = os.environ",
    "--password $PASSWORD_OF_THE_SERVER",
)


@pytest.mark.parametrize("token", TOKENS)
def test_a_secret_is_neither_taken_nor_shown(token: str) -> None:
    assert holds_secret(token)
    secret = token.rpartition("=")[2] if "=" in token else token
    assert secret not in scrubbed(f"+ a line with {token} in it")
    for key in ("name", "tracking.experiment", "data.root"):
        quoted = f"'{token}'" if ":" not in token and "=" not in token else f'"{token}"'
        with pytest.raises(ConfigError) as caught:
            compose_config(["data=folder", "data.root=x", f"{key}={quoted}"])
        assert any(f.startswith(f"{key}: holds what looks like") for f in caught.value.faults)
        assert secret not in scrubbed(str(caught.value))


@pytest.mark.parametrize("token", MORE_TOKENS)
def test_secrets_of_further_kinds_are_known(token: str) -> None:
    assert holds_secret(token)
    shown = scrubbed(f"+ a line with {token} in it")
    assert "***" in shown
    secret = re.split(r"[=:@ ]+", token.removesuffix("=="))
    assert [part for part in secret if len(part) > 9 and any(map(str.isdigit, part))
            and part in shown] == []  # fmt: skip


@pytest.mark.parametrize("line", ASSIGNED)
def test_a_secret_of_letters_alone_is_known_by_its_name(line: str) -> None:
    given = line.format("correcthorse")
    assert holds_secret(given)
    assert scrubbed(f"+{given}") == f"+{line.format('***')}"


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "hydra.job.name"])
def test_no_secret_is_a_name_of_a_folder(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "short1234")
    for value in ("runs/ghp_" + "a1" * 18, "runs_short1234"):
        with pytest.raises(ConfigError, match=f"{key}: holds what looks like"):
            check_overrides([f"{key}={value}"], multirun=False)


@pytest.mark.parametrize(
    "name",
    [
        "PGPASSWORD",
        "DB_PASS",
        "SSH_PASSPHRASE",
        "MY_AUTH",
        "PRIVATE_KEY",
        "hf_token",
        "KAGGLE_KEY",
        "SLACK_WEBHOOK",
        "OPENAI_API_KEYS",
    ],
)
def test_values_of_variables_that_are_named_like_secrets_are_secrets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "words of some length")
    assert holds_secret("x words of some length y")
    assert scrubbed("x words of some length y") == "x *** y"
    monkeypatch.setenv("SOME_PWD", "/home/of/somebody")
    assert not holds_secret("/home/of/somebody/x")


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert not holds_secret(text)
    assert scrubbed(text) == text


def test_a_secret_of_the_environment_is_hidden_in_names_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSHUB_USER_TOKEN", "a-quite-long-own-token")
    with pytest.raises(ConfigError, match="name: holds what looks like"):
        compose_config(["name=run-a-quite-long-own-token"])


@pytest.mark.parametrize("value", ["int8", "int64", "uint8", "bool", "nan", "inf", "-inf"])
def test_weights_of_another_kind_or_no_numbers_are_refused(value: str, tmp_path: Path) -> None:
    network = build_backbone(BackboneConfig(name="asl_small_cnn", pretrained=False), 32).network
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    kernel = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    told = "infinite or NaN values in 1 tensors"
    if hasattr(torch, value) and isinstance(getattr(torch, value), torch.dtype):
        tensors[kernel] = torch.ones_like(tensors[kernel]).to(getattr(torch, value))
        told = "of whole numbers or another kind: "
    else:
        tensors[kernel].view(-1)[0] = float(value)
    save_file(tensors, tmp_path / "w.safetensors")
    config = BackboneConfig(name="asl_small_cnn", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(WeightsError, match=told):
        build_backbone(config, 32)
