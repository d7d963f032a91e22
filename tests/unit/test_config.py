# SPDX-License-Identifier: Apache-2.0
"""The configuration is closed, knows where each value came from and never shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from slipway_server.config import Settings, env_key, load_settings, rows
from slipway_server.errors import ConfigInvalid


def test_precedence_and_origins(tmp_path: Path) -> None:
    file = tmp_path / "slipway.env"
    file.write_text("SLIPWAY_RETRIEVAL_K=4\nSLIPWAY_COLLECTION=from-file\nSLIPWAY_LM_MODEL=from-file\n")
    environ = {"SLIPWAY_CONFIG_FILE": str(file), "SLIPWAY_COLLECTION": "from-env", "SLIPWAY_LM_MODEL": "from-env"}
    settings = load_settings({"lm_model": "from-flag", "artifact": None}, environ)
    assert (settings.retrieval_k, settings.collection, settings.lm_model) == (4, "from-env", "from-flag")
    origins = {row.key: row.origin for row in rows(settings)}
    assert origins["SLIPWAY_RETRIEVAL_K"] == f"file {file}"
    assert origins["SLIPWAY_COLLECTION"] == "environment"
    assert origins["SLIPWAY_LM_MODEL"] == "command line"
    assert origins["SLIPWAY_LM_RPM"] == "default"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SLIPWAY_GRPC_PROT": "1"}, "did you mean SLIPWAY_GRPC_PORT?"),
        ({"SLIPWAY_GRCP_PORT": "50052"}, "did you mean SLIPWAY_GRPC_PORT?"),
        ({"SLIPWAY_QQQQQQ": "1"}, "`slipway config` lists the keys"),
        ({"SLIPWAY_GRPC_PORT": "many"}, "SLIPWAY_GRPC_PORT: .*integer"),
        ({"SLIPWAY_GRPC_PORT": "70000"}, "SLIPWAY_GRPC_PORT: "),
        ({"SLIPWAY_CACHE": "yes"}, "SLIPWAY_CACHE: .*'on', 'memory' or 'off'"),
        ({"SLIPWAY_LM_TEMPERATURE": "-1"}, "SLIPWAY_LM_TEMPERATURE: "),
        ({"SLIPWAY_DRAIN_SECONDS": "inf"}, "SLIPWAY_DRAIN_SECONDS: .*finite"),
        ({"SLIPWAY_LM_BASE_URL": "localhost:8080/v1"}, "SLIPWAY_LM_BASE_URL: 'localhost:8080/v1' is not an address"),
        (
            {"SLIPWAY_LM_BASE_URL": "https://me:secret@lm/v1"},
            "SLIPWAY_LM_BASE_URL: an address must not hold a user or password",
        ),
        ({"SLIPWAY_EMBEDDING_BASE_URL": "http://[::1/v1"}, "SLIPWAY_EMBEDDING_BASE_URL: Invalid IPv6 URL"),
        ({"SLIPWAY_LM_BASE_URL": "http://host:80800/v1"}, "SLIPWAY_LM_BASE_URL: Port out of range"),
        ({"SLIPWAY_JUDGE_BASE_URL": "http://host:http/v1"}, "SLIPWAY_JUDGE_BASE_URL: Port could not be cast"),
        ({"SLIPWAY_LM_RPM": "nan"}, "SLIPWAY_LM_RPM: .*finite"),
        ({"SLIPWAY_CONFIG_FILE": "nowhere.env"}, "no file at nowhere.env"),
    ],
)
def test_a_wrong_key_or_value_names_itself(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        load_settings(environ=environ)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SLIPWAY_LM_MODLE=m\n", "did you mean SLIPWAY_LM_MODEL?"),
        (b"LM_MODEL=m\n", "LM_MODEL: unknown configuration key .*did you mean SLIPWAY_LM_MODEL?"),
        (b"# fine\n\n\nSLIPWAY_LM_MODEL m\n", "slipway.env, line 4: not KEY=value"),
        (b"SLIPWAY_LM_MODEL=m\n\nSLIPWAY_LM_RPM\n", "slipway.env, line 3: not KEY=value"),
        (b"SLIPWAY_LM_MODEL='m\n", "slipway.env, line 1: not KEY=value"),
        (b"\xff\xfe", "slipway.env cannot be read as text"),
    ],
)
def test_a_wrong_line_of_the_file_names_itself(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "slipway.env").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=message) as caught:
        load_settings(environ={"SLIPWAY_CONFIG_FILE": str(tmp_path / "slipway.env")})
    assert "\n" not in caught.value.message


def test_a_file_is_taken_as_shells_write_it(tmp_path: Path) -> None:
    lines = (
        "# a comment",
        "export SLIPWAY_LM_MODEL='openai/m'",
        'SLIPWAY_COLLECTION = "two words" # the collection',
        "SLIPWAY_LM_RPM=",
        "DSPY_CACHEDIR=/cache/${HOME}",
    )
    (tmp_path / "slipway.env").write_text("\n".join(lines))
    settings = load_settings(environ={"SLIPWAY_CONFIG_FILE": str(tmp_path / "slipway.env")})
    assert (settings.lm_model, settings.collection, settings.lm_rpm) == ("openai/m", "two words", None)
    assert settings.cache_dir == Path("/cache/${HOME}"), "nothing is filled in from elsewhere"


def test_service_links_of_kubernetes_are_not_ours() -> None:
    links = {
        "SLIPWAY_SERVICE_HOST": "10.0.0.1",
        "SLIPWAY_SERVICE_PORT_GRPC": "50051",
        "SLIPWAY_PORT": "tcp://10.0.0.1:50051",
        "SLIPWAY_PORT_50051_TCP_ADDR": "10.0.0.1",
        "SLIPWAY_HEADLESS_SERVICE_HOST": "10.0.0.2",
    }
    assert load_settings(environ=links) == load_settings(environ={})


def test_an_empty_value_means_not_set() -> None:
    assert load_settings(environ={"SLIPWAY_ARTIFACT": ""}).artifact is None


def test_secrets_are_masked_everywhere() -> None:
    environ = {
        "SLIPWAY_LM_API_KEY": "s3cret",
        "SLIPWAY_QDRANT_API_KEY": "s3cret",
        "SLIPWAY_EMBEDDING_API_KEY": "s3cret",
    }
    settings = load_settings(environ=environ)
    assert "s3cret" not in repr(settings) + str(rows(settings)) + settings.model_dump_json()


def test_settings_are_frozen_and_documented() -> None:
    with pytest.raises(ValidationError):
        load_settings(environ={}).grpc_port = 1  # type: ignore[misc]
    assert all(row.description.endswith(".") for row in rows(load_settings(environ={})))


def test_the_cache_folder_has_dspys_own_key() -> None:
    assert env_key("cache_dir") == "DSPY_CACHEDIR"
    assert load_settings(environ={"DSPY_CACHEDIR": "elsewhere"}).cache_dir == Path("elsewhere")
    assert set(Settings.model_fields) >= {"program", "artifact"}
