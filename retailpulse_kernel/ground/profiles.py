"""A profile as people read it: addresses, logins, and where passwords are found."""

from __future__ import annotations

from retailpulse_kernel.ground.addresses import Profile, profiles_folder
from retailpulse_kernel.ground.credentials import described, names_a_secret

__all__ = ["described_profile", "profile_names"]


def profile_names() -> list[str]:
    """The profiles that go by a name."""
    return sorted({"local", *(path.stem for path in profiles_folder().glob("*.toml"))})


def described_profile(profile: Profile) -> list[str]:
    """A line for each server, masked.

    >>> described_profile(Profile())[0]
    '  kafka      127.0.0.1:9092, PLAINTEXT'

    Parameters
    ----------
    profile : Profile
        Its credentials are shown as references only.
    """
    kafka, cassandra, hbase, hive, spark, registry = (
        profile.kafka, profile.cassandra, profile.hbase, profile.hive, profile.spark, profile.registry,
    )  # fmt: skip
    secrets = [f"{name} {described(value)}" for name, value in spark.conf.items() if names_a_secret(name)]
    plain = len(spark.conf) - len(secrets)
    lines: dict[str, list[str | None]] = {
        "kafka": [kafka.bootstrap, kafka.security_protocol, kafka.sasl_mechanism],
        "cassandra": [",".join(f"{host}:{cassandra.port}" for host in cassandra.hosts)],
        "hbase": [f"{hbase.host}:{hbase.port}"],
        "hive": [f"{hive.host}:{hive.port}", f"auth {hive.auth}", f"metastore {hive.metastore}"],
        "spark": [
            spark.master,
            f"remote {spark.remote}" if spark.remote else None,
            f"token {described(spark.token)}" if spark.token else None,
            *secrets,
            f"{plain} more settings" if plain else None,
        ],
        "registry": [registry.url],
    }
    encrypted = {"cassandra": cassandra.encrypted, "hbase": hbase.encrypted, "hive": hive.encrypted}
    for name in [name for name, tls in encrypted.items() if tls]:
        lines[name].append("TLS")
    logins = {
        "kafka": (kafka.username, kafka.password),
        "cassandra": (cassandra.username, cassandra.password),
        "hive": (hive.username, hive.password),
        "registry": (registry.username, registry.password),
    }
    for name, (user, password) in logins.items():
        lines[name].append(f"user {user}" if user else None)
        lines[name].append(f"password {described(password)}" if password else None)
    for name, own in profile.stores.items():
        lines[name] = [f"{key} {described(str(value)) if names_a_secret(key) else value}" for key, value in own.items()]
    lines.setdefault(profile.serving.store, []).append("serves the figures")
    if profile.contract is not None:
        lines["contract"] = [profile.contract]
    return [f"  {name:<10} {', '.join(part for part in parts if part)}" for name, parts in lines.items()]
