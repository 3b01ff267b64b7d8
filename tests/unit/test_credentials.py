"""Credentials by reference: found where they are, masked where they are shown, refused as values."""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from retailpulse_kernel.ground.addresses import load_profile
from retailpulse_kernel.ground.credentials import Secret, described, names_a_secret, resolve_secret
from retailpulse_kernel.ground.errors import ProfileError
from retailpulse_kernel.ground.profiles import described_profile
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.workbench.workbench import Workbench

CANARY = "canary-5c2d"


class Ring(KeyringBackend):
    priority = 1  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        return CANARY if (service, username) == ("shop", "ann") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", CANARY)
    (tmp_path / "password").write_text(f"{CANARY}\n")
    monkeypatch.chdir(tmp_path)
    before = keyring.get_keyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", Ring())
    assert keyring.get_keyring() is not before


@pytest.mark.parametrize("reference", ["env:SHOP_PASSWORD", "file:password", "keyring:shop/ann"])
def test_a_reference_leads_to_the_password(reference: str) -> None:
    assert resolve_secret(reference) == CANARY


@pytest.mark.parametrize("reference", ["env:NOWHERE", "file:nowhere", "keyring:shop/bob"])
def test_a_reference_that_leads_to_nothing_is_named(reference: str) -> None:
    with pytest.raises(ProfileError, match=f"{reference} leads to nothing"):
        resolve_secret(reference)


def test_a_password_in_place_of_a_reference_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        resolve_secret(CANARY)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    for text in (
        f'[kafka]\npassword = "{CANARY}"\n',
        f'[hbase]\npassword = "{CANARY}"\n',
        f'[spark.conf]\n"spark.hadoop.fs.s3a.secret.key" = "{CANARY}"\n',
        f'[cassandra]\nport = "{CANARY}"\n',
    ):
        profile = tmp_path / "wrong.toml"
        profile.write_text(text)
        with pytest.raises(ProfileError) as caught:
            load_profile(str(profile))
        assert CANARY not in "".join(traceback.format_exception(caught.value)), text


def test_a_secret_is_masked_wherever_it_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    secret = resolve_secret("env:SHOP_PASSWORD")
    with caplog.at_level(logging.INFO):
        logging.getLogger("try").info("connecting with %r", {"sasl.password": secret})
    shown = repr(secret) + repr([secret]) + f"{ {'a': secret} }" + caplog.text
    assert CANARY not in shown and "**********" in shown
    assert pickle.loads(pickle.dumps(secret)) == CANARY and isinstance(pickle.loads(pickle.dumps(secret)), Secret)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("spark.authenticate.secret", True),
        ("spark.ssl.keyStorePassword", True),
        ("spark.hadoop.fs.azure.account.key.shop", True),
        ("spark.hadoop.fs.s3a.session.token", True),
        ("spark.executor.memory", False),
        ("spark.sql.shuffle.partitions", False),
        ("spark.hadoop.hadoop.security.credential.provider.path", False),
        ("spark.security.credentials.hive.enabled", False),
        ("spark.kubernetes.driver.secretKeyRef.SHOP_PASS", False),
        ("spark.authenticate.secretBitLength", False),
        ("spark.authenticate.secret.file", False),
        ("spark.hadoop.fs.azure.account.key.file.core.windows.net", True),
        ("spark.hadoop.fs.s3a.encryption.key", True),
        ("spark.kafka.ssl.keystore.key", True),
        ("sasl.jaas.config", True),
        ("sasl.mechanism", False),
        ("private_key", True),
        ("privateKey", True),
        ("aws_secret_access_key", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_ACCESS_KEY_ID", False),
        ("access_key", True),
        ("passphrase", True),
        ("ssh_key_passphrase", True),
        ("apikey", True),
        ("api-key", True),
        ("DB_PASSWORD_2", True),
        ("password_of_shop", True),
        ("credentials_json", True),
        ("token_url", False),
        ("tokens", False),
        ("max_tokens", False),
        ("db_passwords", True),
        ("apiKeys", True),
        ("key", False),
        ("keyboard", False),
        ("primary_key", False),
        ("secretary", False),
        ("", False),
    ],
)
def test_which_settings_hold_secrets(name: str, secret: bool) -> None:
    assert names_a_secret(name) is secret


def test_a_profile_is_shown_with_where_its_passwords_are(tmp_path: Path) -> None:
    profile = tmp_path / "shop.toml"
    profile.write_text(
        '[kafka]\nusername = "ann"\npassword = "env:SHOP_PASSWORD"\nsecurity_protocol = "SASL_SSL"\n'
        'sasl_mechanism = "PLAIN"\n[cassandra]\nusername = "ann"\npassword = "env:NOWHERE"\ntls = true\n'
        '[spark.conf]\n"spark.authenticate.secret" = "file:password"\n'
    )
    settings = Settings.load(profile=str(profile))
    shown = repr(Workbench(str(profile))) + repr(settings) + repr(settings.profile) + repr(client_config(settings))
    assert CANARY not in shown
    assert "password ********** from env:SHOP_PASSWORD" in shown
    assert "env:NOWHERE, which is not set" in shown and "user ann" in shown
    assert settings.profile.spark.resolved_conf() == {"spark.authenticate.secret": CANARY}
    assert client_config(settings)["sasl.password"] == CANARY


def test_the_projects_profiles_can_be_read_and_shown() -> None:
    for name in ("local", "compose", "cluster"):
        assert [line.split()[0] for line in described_profile(load_profile(name))] == [
            "kafka", "cassandra", "hbase", "hive", "spark", "registry",
        ]  # fmt: skip
    assert described("keyring:shop/bob") == "********** from keyring:shop/bob", "a keyring may ask: it is not looked up"
