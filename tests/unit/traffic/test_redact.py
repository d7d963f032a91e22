# SPDX-License-Identifier: Apache-2.0
"""Allowed fields first, then patterns and the user's own hook; nothing is allowed by default."""

from __future__ import annotations

import time

import pytest

from slipway_server.errors import ProgramInvalid
from slipway_server.traffic.redact import Redactor, hooks_named, patterns


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("write to ann.lee+x@mail.example.org now", "write to <email> now"),
        ("call +44 20 7946 0958", "call <phone>"),
        ("call (030) 901 820", "call <phone>"),
        ("card 4111 1111 1111 1111.", "card <card>."),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <iban>"),
        ("from 192.168.10.1", "from <ip>"),
        ("key sk-abcdefghijklmnop1234", "key <key>"),
        ("Port Callow was founded in 1868 by 12 families", "Port Callow was founded in 1868 by 12 families"),
        ("version 3.11.2, 45 % of 1,200", "version 3.11.2, 45 % of 1,200"),
    ],
)
def test_patterns(text: str, stored: str) -> None:
    assert patterns(text) == stored


def test_fields_are_allowed_one_by_one_and_nested_texts_redacted() -> None:
    redactor = Redactor(["question", "notes"], [patterns, str.upper])
    values = {"question": "ask a@b.org", "secret": "x", "notes": [{"by": "c@d.org"}, 3, None]}
    assert redactor.fields(values) == {"question": "ASK <EMAIL>", "notes": [{"by": "<EMAIL>"}, 3, None]}
    assert Redactor([], []).fields(values) == {}
    assert Redactor(["*"], []).fields(values) == values


def test_hooks_by_name() -> None:
    assert hooks_named(" patterns , string:capwords")[1]("a b") == "A B"
    assert hooks_named("") == []
    with pytest.raises(ProgramInvalid):
        hooks_named("no.such.module:function")


@pytest.mark.parametrize("run", ["a", "1", "1.", "a@", "sk-"])
def test_a_long_text_without_gaps_takes_no_square_of_time(run: str) -> None:
    text = run * (131_072 // len(run))
    started = time.thread_time()
    patterns(text)
    assert time.thread_time() - started < 5  # each takes a tenth of a second; the square of it was a minute


def test_an_address_with_a_long_name_is_not_kept() -> None:
    assert patterns("x" * 300 + "@a.org").endswith("x<email>")
    assert patterns("a@b.c+d@e.f g@h.i.") == "<email><email> <email>."
