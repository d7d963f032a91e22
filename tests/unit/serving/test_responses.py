# SPDX-License-Identifier: Apache-2.0
"""Responses are written in two parts; what arrives is what one message would have been."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.rag.v1 import rag_pb2
from slipway.v1 import prediction_pb2, receipt_pb2
from slipway_server.cache.memory import Form
from slipway_server.request import Citation
from slipway_server.runtime.types import Answer, Receipt
from slipway_server.serving import convert
from slipway_server.serving.responses import Responses

TEXTS = st.text(max_size=300)
SECONDS = st.floats(0, 1e6)
COUNTS = st.integers(0, 2**31 - 1)
RECEIPTS = st.builds(
    Receipt,
    request_id=TEXTS,
    program=TEXTS,
    artifact=TEXTS,
    artifact_digest=TEXTS,
    variant=st.sampled_from(["stable", "candidate"]),
    model=TEXTS,
    cache=st.sampled_from(["miss", "memo", "bypass"]),
    lm_calls=COUNTS,
    attempts=COUNTS,
    waits_seconds=st.dictionaries(st.sampled_from(["queue", "retry"]), SECONDS),
    prompt_tokens=COUNTS,
    completion_tokens=COUNTS,
    cost_usd=st.none() | st.floats(0, 10),
    collection_version=TEXTS,
    citations=st.lists(st.builds(Citation, TEXTS, TEXTS, st.floats(-1, 1)), max_size=5).map(tuple),
    elapsed_seconds=SECONDS,
    server=TEXTS,
)
OUTPUTS = st.dictionaries(st.text(max_size=20), st.text(max_size=2000) | st.integers(-9, 9) | st.none(), max_size=4)


class Kept(Answer):
    """An answer that keeps forms in `forms`, which remembered ones share."""

    forms: dict[str, Form]

    def form(self, name: str) -> Form | None:
        return self.forms.get(name)

    def keep(self, name: str, form: Form) -> None:
        self.forms[name] = form


def kept(outputs: dict[str, Any], receipt: Receipt, forms: dict[str, Form]) -> Kept:
    answer = Kept(outputs, receipt)
    answer.forms = forms
    return answer


def write(answer: Answer, response: prediction_pb2.PredictResponse) -> None:
    convert.write_outputs(answer.outputs, response.outputs)


def whole(outputs: dict[str, Any], receipt: Receipt) -> prediction_pb2.PredictResponse:
    message = prediction_pb2.PredictResponse()
    convert.write_outputs(outputs, message.outputs)
    convert.write_common(receipt, message.receipt)
    convert.write_own(Answer(outputs, receipt).own, message.receipt)
    return message


@settings(max_examples=150)
@given(OUTPUTS, RECEIPTS)
def test_a_response_is_the_message_that_it_stands_for(outputs: dict[str, Any], receipt: Receipt) -> None:
    data = Responses(prediction_pb2.PredictResponse, write).of(Answer(outputs, receipt))
    assert prediction_pb2.PredictResponse.FromString(data) == whole(outputs, receipt)
    parts = [field.field_number for field in UnknownFieldSet(Empty.FromString(data))]
    assert sorted(parts) == [1, 2], "each once: not every reader merges a message that comes in two parts"


@settings(max_examples=100)
@given(OUTPUTS, RECEIPTS, RECEIPTS)
def test_a_kept_form_gives_what_writing_anew_would(outputs: dict[str, Any], first: Receipt, other: Receipt) -> None:
    own = {name: getattr(other, name) for name in ("request_id", "artifact", "variant", "elapsed_seconds")}
    second = replace(first, **own)
    responses, forms = Responses(prediction_pb2.PredictResponse, write), dict[str, Form]()
    responses.of(kept(outputs, first, forms))
    unread = kept({"never": "read"}, replace(second, program="never read"), forms)
    assert prediction_pb2.PredictResponse.FromString(responses.of(unread)) == whole(outputs, second)


def test_methods_do_not_share_forms() -> None:
    receipt = Receipt("", "", "", "", "", "", "memo", 0, 0, {}, 0, 0, None, "", (), 0.0)
    forms: dict[str, Form] = {}
    Responses(prediction_pb2.PredictResponse, write).of(kept({"answer": "a"}, receipt, forms))

    def write_answer(answer: Answer, response: rag_pb2.AskResponse) -> None:
        response.answer = answer.outputs["answer"]

    data = Responses(rag_pb2.AskResponse, write_answer).of(kept({"answer": "a"}, receipt, forms))
    assert rag_pb2.AskResponse.FromString(data) == rag_pb2.AskResponse(
        answer="a", receipt=receipt_pb2.Receipt(cache=receipt_pb2.CACHE_TIER_MEMO, elapsed=convert.duration(0))
    )
