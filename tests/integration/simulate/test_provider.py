# SPDX-License-Identifier: Apache-2.0
"""The simulated provider over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_server.errors import ConfigInvalid, PortTaken
from slipway_server.simulate import Behaviour, Provider, SimulatorConfig, Step

ASK = {"model": "m", "messages": [{"role": "user", "content": "Ann is a nurse in Rome.\n\nWho is a nurse?"}]}
TEXT = Behaviour(answer="text", text="one two three")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        yield client


def serving(**behaviour: Any) -> Provider:
    return Provider(SimulatorConfig(behaviour=TEXT.changed(behaviour)))


async def ask(client: httpx.AsyncClient, provider: Provider, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {"Authorization": "Bearer sk-test-1234"})
    return await client.post(f"{provider.base_url}/chat/completions", json={**ASK, **more}, headers=headers)


async def test_answers_with_the_extractive_reader_and_counts_tokens(client: httpx.AsyncClient) -> None:
    async with Provider() as provider:
        answer = (await ask(client, provider)).json()
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Ann is a nurse in Rome."}
        assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
        cut = (await ask(client, provider, max_tokens=2)).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("Ann is a", "length")
    entry = provider.ledger.entries[0]
    assert (entry.status, entry.outcome, entry.key, entry.input_tokens, entry.output_tokens) == (
        200,
        "ok",
        "1234",
        10,
        6,
    )


async def test_script_answers_in_turn(client: httpx.AsyncClient) -> None:
    async with serving(answer="script", script=["first", "second"]) as provider:
        texts = [(await ask(client, provider)).json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["first", "second", "first"]


async def test_streams_words_and_usage(client: httpx.AsyncClient) -> None:
    async with serving() as provider:
        answer = await ask(client, provider, stream=True, stream_options={"include_usage": True})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "one two three"
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


async def test_embeds_with_the_hashing_embedder(client: httpx.AsyncClient) -> None:
    async with serving() as provider:
        url = f"{provider.base_url}/embeddings"
        answer = (await client.post(url, json={"model": "e", "input": ["a cat", "a dog"], "dimensions": 64})).json()
        wrong = await client.post(url, json={"model": "e", "input": [1]})
    vectors = [row["embedding"] for row in answer["data"]]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-5)
    assert vectors[0] != vectors[1]
    assert wrong.status_code == 400


async def test_quota_refuses_with_openai_headers_and_keys_do_not_share_it(client: httpx.AsyncClient) -> None:
    async with serving(rpm=60, burst_seconds=2, tpm=60_000) as provider:
        answers = [await ask(client, provider) for _ in range(3)]
        other = await ask(client, provider, headers={"Authorization": "Bearer other"})
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "60"
    assert answers[0].headers["x-ratelimit-reset-requests"] == "1s"
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "60000"
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert "x-ratelimit-remaining-requests" in answers[2].headers
    assert other.status_code == 200
    assert provider.ledger.count(status=429, outcome="rate-limit") == 1


async def test_anthropic_headers_and_no_headers(client: httpx.AsyncClient) -> None:
    async with serving(rpm=60, tpm=12_345, headers="anthropic") as provider:
        headers = (await ask(client, provider)).headers
        assert headers["anthropic-ratelimit-requests-remaining"] == "59"
        assert headers["anthropic-ratelimit-tokens-remaining"] == "12000"
        reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
        assert abs((reset - datetime.now(UTC)).total_seconds()) < 5
        provider.configure(headers="none")
        assert not [name for name in (await ask(client, provider)).headers if "ratelimit" in name]


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("right", "retry-after", "3"),
        ("late", "retry-after", "33"),
        ("absurd", "retry-after", "1000000000"),
        ("ms", "retry-after-ms", "2500"),
        ("decimal", "retry-after", "2.500"),
    ],
)
async def test_forms_of_retry_after(client: httpx.AsyncClient, form: str, header: str, value: str) -> None:
    async with serving(fault="rate-limit", retry_after=form, retry_after_seconds=2.5) as provider:
        assert (await ask(client, provider)).headers[header] == value


async def test_retry_after_as_date_and_missing(client: httpx.AsyncClient) -> None:
    async with serving(fault="rate-limit", retry_after="date", retry_after_seconds=20) as provider:
        moment = parsedate_to_datetime((await ask(client, provider)).headers["retry-after"])
        assert 15 < (moment - datetime.now(UTC)).total_seconds() < 25
        provider.configure(retry_after="missing")
        assert "retry-after" not in (await ask(client, provider)).headers


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("billing", 429, "insufficient_quota"),
        ("auth", 401, "invalid_api_key"),
        ("model", 404, "model_not_found"),
        ("context-length", 400, "context_length_exceeded"),
        ("invalid", 400, None),
        ("timeout", 408, None),
        ("server-error", 500, None),
        ("unavailable", 503, None),
        ("overloaded", 529, None),
    ],
)
async def test_errors_have_the_providers_status_and_code(
    client: httpx.AsyncClient, fault: str, status: int, code: str | None
) -> None:
    async with serving(fault=fault) as provider:
        answer = await ask(client, provider)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "retry-after" not in answer.headers
    assert provider.ledger.count(status=status, outcome=fault) == 1


async def test_html_garbage_reset_and_cut(client: httpx.AsyncClient) -> None:
    async with serving(fault="html") as provider:
        page = await ask(client, provider)
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (503, "text/html")
        provider.configure(fault="garbage")
        with pytest.raises(json.JSONDecodeError):
            (await ask(client, provider)).json()
        provider.configure(fault="reset")
        with pytest.raises(httpx.TransportError):
            await ask(client, provider)
        provider.configure(fault="cut", cut_after_chunks=2)
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(client, provider, stream=True)
        provider.configure(fault="error-event")
        assert '"type":"server_error"' in (await ask(client, provider, stream=True)).text
    outcomes = [entry.outcome for entry in provider.ledger.entries]
    assert outcomes == ["html", "garbage", "reset", "cut", "error-event"]


async def test_a_hang_ends_when_the_client_goes_away(client: httpx.AsyncClient) -> None:
    async with serving(fault="hang") as provider:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{provider.base_url}/chat/completions", json=ASK, timeout=httpx.Timeout(30, read=0.1))
        await until(lambda: provider.ledger.count(outcome="hang") == 1)


async def test_a_request_that_its_client_leaves_is_entered_as_aborted(client: httpx.AsyncClient) -> None:
    async with serving(first_byte_seconds=30) as provider:
        async with client.stream("POST", f"{provider.base_url}/chat/completions", json=ASK) as answer:
            assert answer.status_code == 200
        await until(lambda: provider.ledger.count(outcome="aborted") == 1)


async def test_late_first_byte_comes_after_the_headers(client: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    async with serving(first_byte_seconds=0.2) as provider:
        for stream in (False, True):
            url = f"{provider.base_url}/chat/completions"
            async with client.stream("POST", url, json={**ASK, "stream": stream}) as answer:
                headers = loop.time()
                await answer.aread()
            assert loop.time() - headers > 0.1


async def test_keys_and_models_are_checked(client: httpx.AsyncClient) -> None:
    config = SimulatorConfig(behaviour=TEXT, keys=("good",), models={"m": {}, "slow": {"text": "slow"}})
    async with Provider(config) as provider:
        assert (await ask(client, provider)).status_code == 401
        good = {"Authorization": "Bearer good"}
        assert (await ask(client, provider, headers=good, model="x")).status_code == 404
        answer = await ask(client, provider, headers=good, model="slow")
        models = (await client.get(f"{provider.base_url}/models")).json()
    assert answer.json()["choices"][0]["message"]["content"] == "slow"
    assert [model["id"] for model in models["data"]] == ["m", "slow"]


async def test_a_too_long_prompt_and_a_too_large_request(client: httpx.AsyncClient) -> None:
    async with serving(context_tokens=20) as provider:
        assert (await ask(client, provider, max_tokens=5)).status_code == 200
        assert (await ask(client, provider, max_tokens=15)).json()["error"]["code"] == "context_length_exceeded"
        provider.configure(context_tokens=None, tpm=9)
        large = await ask(client, provider)
    assert (large.status_code, large.json()["error"]["type"]) == (429, "tokens")
    assert "retry-after" not in large.headers


@pytest.mark.parametrize(("charge", "left"), [("produced", "986"), ("reserved", "890"), ("refunded", "986")])
async def test_output_is_charged_as_the_contract_says(client: httpx.AsyncClient, charge: str, left: str) -> None:
    async with serving(tpm=1000, burst_seconds=60, output_charged=charge) as provider:
        await ask(client, provider, max_tokens=100)
        levels = provider.state.quota("sk-test-1234", "m", provider.state.behaviour("m")).levels()
    assert round(levels["tokens"].remaining) == int(left)


async def test_scenario_steps_hold_for_their_time(client: httpx.AsyncClient) -> None:
    steps = (
        Step(0, 0.3, {"fault": "rate-limit"}),
        Step(0.3, None, {"text": "after"}),
        Step(0, None, {"fault": "server-error"}, model="other"),
    )
    async with Provider(SimulatorConfig(behaviour=TEXT, steps=steps)) as provider:
        assert (await ask(client, provider)).status_code == 429
        assert (await ask(client, provider, model="other")).status_code == 500
        await until(lambda: provider.state.now() > 0.3)
        assert (await ask(client, provider)).json()["choices"][0]["message"]["content"] == "after"


async def test_stale_headers_tell_older_levels(client: httpx.AsyncClient) -> None:
    async with serving(rpm=600, stale_headers_seconds=60) as provider:
        answers = [await ask(client, provider) for _ in range(3)]
    assert {answer.headers["x-ratelimit-remaining-requests"] for answer in answers} == {"599"}


async def test_admin_changes_resets_and_shows(client: httpx.AsyncClient) -> None:
    async with serving(rpm=1) as provider:
        root = provider.root_url
        changed = await client.post(f"{root}/admin/configure", json={"model": "m", "text": "new"})
        assert changed.json() == {"changed": ["text"]}
        assert (await ask(client, provider)).json()["choices"][0]["message"]["content"] == "new"
        assert (await client.get(f"{root}/admin/behaviour", params={"model": "m"})).json()["text"] == "new"
        for wrong in ({"text": 1, "rpm": "x"}, {"nonsense": 1}, {"model": ["m"]}, []):
            assert (await client.post(f"{root}/admin/configure", json=wrong)).status_code == 400
        assert (await client.get(f"{root}/ledger/summary")).json()["statuses"] == {"200": 1}
        assert (await client.get(f"{root}/ledger")).json()[0]["model"] == "m"
        assert (await client.get(f"{root}/ledger?since=1")).json() == []
        assert (await client.get(f"{root}/ledger?since=x")).status_code == 400
        assert (await ask(client, provider)).status_code == 429
        await client.post(f"{root}/admin/reset")
        assert (await ask(client, provider)).status_code == 200
        assert len(provider.ledger.entries) == 1


async def test_a_script_loses_no_text_to_requests_that_are_refused(client: httpx.AsyncClient) -> None:
    async with serving(answer="script", script=["first", "second"]) as provider:
        said = []
        for fault in ("unavailable", "none", "invalid", "rate-limit", "none"):
            provider.configure(fault=fault)
            answered = await ask(client, provider)
            if answered.status_code == 200:
                said.append(answered.json()["choices"][0]["message"]["content"])
        provider.reset()
        said.append((await ask(client, provider)).json()["choices"][0]["message"]["content"])
    assert said == ["first", "second", "first"]


async def test_malformed_embeddings_are_refused(client: httpx.AsyncClient) -> None:
    async with serving() as provider:
        for wrong in ({"input": []}, {"input": ["a", 3]}, {"input": "a", "dimensions": True}):
            answered = await client.post(f"{provider.base_url}/embeddings", json={"model": "m", **wrong})
            assert answered.status_code == 400, wrong


async def test_malformed_requests_are_refused(client: httpx.AsyncClient) -> None:
    async with serving() as provider:
        url = f"{provider.base_url}/chat/completions"
        for content in (b"", b"{", b"[]", b"{}", b'{"model": "m"}', b'{"model": "m", "messages": 3}'):
            assert (await client.post(url, content=content)).status_code == 400


async def test_ledger_file_has_a_line_per_request(client: httpx.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    async with Provider(SimulatorConfig(behaviour=TEXT, ledger=path)) as provider:
        for _ in range(20):
            await ask(client, provider)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(20))


async def test_a_taken_port_is_named() -> None:
    async with Provider() as provider:
        with pytest.raises(PortTaken, match=str(provider.port)):
            async with Provider(SimulatorConfig(port=provider.port)):
                pass


def test_a_wrong_setting_names_itself() -> None:
    with pytest.raises(ConfigInvalid, match="rpm"):
        Behaviour().changed({"rpm": -1})
    with pytest.raises(ConfigInvalid, match="fault"):
        SimulatorConfig(steps=(Step(0, 1, {"fault": "fire"}),))


async def until(holds: Any) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 4 s")


async def test_an_address_of_another_machine_is_no_taken_port() -> None:
    with pytest.raises(ConfigInvalid, match=r"--host 192\.0\.2\.1: is not an address of this machine"):
        async with Provider(SimulatorConfig(host="192.0.2.1")):
            pass
