# SPDX-License-Identifier: Apache-2.0
"""The one catalogue of errors: what a caller sees over gRPC, what the CLI prints, and a row each in docs/errors.md.

Raise the most specific class with one line that names the cause and the remedy; the line is public, so it never
contains exception text, secrets or another user's data::

    raise InputWrongType("field 'k' must be a number, got a string", field="k")

::

    SlipwayError
    ├── CallerError               the caller's mistake, never retried
    │   ├── InputUnknownField, InputMissingField, InputWrongType, InputEmpty, InputTooLarge, RequestInvalid
    │   ├── ContextTooLong
    │   ├── PinUnknown
    │   └── MethodUnsupported
    ├── OperatorError             a wrong deployment, never retried
    │   ├── ConfigInvalid, ProgramInvalid, PortTaken
    │   ├── ArtifactMissing, ArtifactInvalid, ArtifactForeign, ArtifactRequired
    │   ├── CollectionMissing, CollectionMismatch, CorpusInvalid, DatasetInvalid
    │   ├── ProviderAuth, ProviderBilling, ProviderModelUnknown, ProviderRejected
    │   └── CompileFailed, RunVoid, ClusterRefused, HelmFailed
    ├── OverloadError             waiting helps; says how long
    │   ├── QueueWaitTooLong, ProviderRateLimited, EmbedderRateLimited, ServerBusy
    ├── UnavailableError          something that we need is away
    │   ├── ProviderUnavailable, ProviderCircuitOpen, RetrievalUnavailable, EmbedderUnavailable,
    │   │   FeedbackUnavailable
    │   └── NotReady
    └── FailureError              the request was fine, the answer was not
        ├── DeadlineTooShort, AnswerUnparseable, ProgramFailed, InternalError, DataCorrupt
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

DOMAIN = "slipway"

NEVER_RETRY = -1
"""Value of grpc-retry-pushback-ms that stops the caller's own retries (gRPC proposal A6)."""

LONGEST_ADVICE_SECONDS = 3600.0
"""What callers are told to wait at most: some providers advise nonsense, and gRPC's pushback is a 32-bit number."""

BILLING_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "enforced_spend_limit_reached", "exceeded_current_quota_error"}
)
"""Codes with which providers answer 429 although waiting does not help: ProviderBilling."""


class Code(StrEnum):
    """Canonical status codes by name (google.rpc.Code); `serving` maps them to grpc.StatusCode."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"


class SlipwayError(Exception):
    """Base of every expected error.

    Args:
        message: One line, cause and remedy, safe to show to a caller.
        retry_after_seconds: Wait at least this long before trying again, an hour at most is said; None where waiting
            does not help.
        metadata: The dynamic parts of the message, for google.rpc.ErrorInfo. Keys are lower_snake_case, for ever.
    """

    code: ClassVar[Code]
    reason: ClassVar[str]
    """UPPER_SNAKE_CASE name of the row in docs/errors.md; stays for ever."""
    retryable: ClassVar[bool] = False
    """Another attempt by the caller may succeed."""
    meaning: ClassVar[str]
    """The row's text in docs/errors.md."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = (
            None if retry_after_seconds is None else min(retry_after_seconds, LONGEST_ADVICE_SECONDS)
        )
        self.metadata = metadata

    @property
    def pushback_ms(self) -> int | None:
        """Value for the trailer grpc-retry-pushback-ms, or None for no trailer.

        Retryable with a known wait: that wait. Not retryable: never. Retryable without one: the client's own backoff.
        """
        if not self.retryable:
            return NEVER_RETRY
        if self.retry_after_seconds is None:
            return None
        return max(1, round(self.retry_after_seconds * 1000))


# ---- the caller's mistakes


class CallerError(SlipwayError):
    """The request cannot succeed as it is."""

    code = Code.INVALID_ARGUMENT


class InputUnknownField(CallerError):
    reason = "INPUT_UNKNOWN_FIELD"
    meaning = "`inputs` has a field that the program does not take. `ArtifactService.GetServing` lists the fields."


class InputMissingField(CallerError):
    reason = "INPUT_MISSING_FIELD"
    meaning = "`inputs` lacks a field that the program needs."


class InputWrongType(CallerError):
    reason = "INPUT_WRONG_TYPE"
    meaning = "A field of `inputs` has a value of a different type than the program's signature declares."


class InputEmpty(CallerError):
    reason = "INPUT_EMPTY"
    meaning = "The question, or every text field of `inputs`, is empty."


class InputTooLarge(CallerError):
    reason = "INPUT_TOO_LARGE"
    meaning = (
        "The inputs exceed SLIPWAY_MAX_INPUT_BYTES, or the whole request exceeds 4 MiB (or four times the input limit, "
        "if that is more)."
    )


class RequestInvalid(CallerError):
    reason = "REQUEST_INVALID"
    meaning = "A field of the request other than `inputs` is malformed (request_id, page_token, page_size, …)."


class ContextTooLong(CallerError):
    reason = "CONTEXT_TOO_LONG"
    meaning = "Prompt and inputs exceed the model's context window. Shorten the input, or retrieve fewer passages."


class PinUnknown(CallerError):
    code = Code.NOT_FOUND
    reason = "PIN_UNKNOWN"
    meaning = "`pin` names a variant or digest that this server does not serve. There is no fallback to another one."


class MethodUnsupported(CallerError):
    code = Code.UNIMPLEMENTED
    reason = "METHOD_UNSUPPORTED"
    meaning = "The served program or this deployment does not offer the method."


# ---- a wrong deployment


class OperatorError(SlipwayError):
    """The deployment must be changed. The same call fails until then."""

    code = Code.FAILED_PRECONDITION


class ConfigInvalid(OperatorError):
    reason = "CONFIG_INVALID"
    meaning = "A configuration key is unknown, or its value is not valid for it."


class ProgramInvalid(OperatorError):
    reason = "PROGRAM_INVALID"
    meaning = "SLIPWAY_PROGRAM does not name a dspy.Module class that can be imported."


class PortTaken(OperatorError):
    reason = "PORT_TAKEN"
    meaning = "Another process is already listening on the port."


class ArtifactMissing(OperatorError):
    reason = "ARTIFACT_MISSING"
    meaning = "There is no file at SLIPWAY_ARTIFACT, or its manifest is missing."


class ArtifactInvalid(OperatorError):
    reason = "ARTIFACT_INVALID"
    meaning = "The artifact is not JSON, is truncated, has keys that are not allowed, or does not match its digest."


class ArtifactForeign(OperatorError):
    reason = "ARTIFACT_FOREIGN"
    meaning = "The artifact was compiled for a different program, or for different fields than the code has now."


class ArtifactRequired(OperatorError):
    reason = "ARTIFACT_REQUIRED"
    meaning = "No artifact is configured. SLIPWAY_ALLOW_UNCOMPILED=1 serves the program uncompiled."


class CollectionMissing(OperatorError):
    reason = "COLLECTION_MISSING"
    meaning = "The collection does not exist. `slipway ingest` creates it."


class CollectionMismatch(OperatorError):
    reason = "COLLECTION_MISMATCH"
    meaning = "The collection was built with a different embedder or dimension than the configured one."


class CorpusInvalid(OperatorError):
    reason = "CORPUS_INVALID"
    meaning = "A corpus is missing, is empty, or has a line that is not a JSON object with a text."


class DatasetInvalid(OperatorError):
    reason = "DATASET_INVALID"
    meaning = (
        "A file of examples is missing, is empty, or has a line that is not a JSON object with the program's fields."
    )


class ProviderAuth(OperatorError):
    reason = "PROVIDER_AUTH"
    meaning = "The provider rejects the API key."


class ProviderBilling(OperatorError):
    reason = "PROVIDER_BILLING"
    meaning = "The provider's account has no quota or credit left; waiting does not help."


class ProviderModelUnknown(OperatorError):
    reason = "PROVIDER_MODEL_UNKNOWN"
    meaning = "The provider does not know the configured model."


class ProviderRejected(OperatorError):
    reason = "PROVIDER_REJECTED"
    meaning = "The provider rejects the request as invalid, for a reason other than its length."


class CompileFailed(OperatorError):
    reason = "COMPILE_FAILED"
    meaning = "The optimizer produced no usable program. The message says why."


class ClusterRefused(OperatorError):
    reason = "CLUSTER_REFUSED"
    meaning = "The Kubernetes API server refuses a call that the loop makes, or does not answer. The message says why."


class HelmFailed(OperatorError):
    reason = "HELM_FAILED"
    meaning = "Helm is not installed, or did not do what `slipway release` asked. The message says why."


class RunVoid(OperatorError):
    reason = "RUN_VOID"
    meaning = (
        "More than 2 % of an evaluation's items failed for infrastructure reasons, so its score would be meaningless."
    )


# ---- waiting helps


class OverloadError(SlipwayError):
    """There is too much load right now. `RetryInfo` says when to try again."""

    code = Code.RESOURCE_EXHAUSTED
    retryable = True


class QueueWaitTooLong(OverloadError):
    reason = "QUEUE_WAIT_TOO_LONG"
    meaning = (
        "The predicted wait for the provider's quota exceeds the deadline or the cap, so the call is refused at once."
    )


class ProviderRateLimited(OverloadError):
    reason = "PROVIDER_RATE_LIMITED"
    meaning = (
        "The provider answers 429, and the wait that it asks for does not fit into the deadline or the retry budget."
    )


class ServerBusy(OverloadError):
    reason = "SERVER_BUSY"
    meaning = "This server is already handling as many requests as SLIPWAY_MAX_CONCURRENT_REQUESTS allows."


class EmbedderRateLimited(OverloadError):
    reason = "EMBEDDER_RATE_LIMITED"
    meaning = "The embedding endpoint answers 429, and the wait that it asks for does not fit into the deadline."


# ---- something is away


class UnavailableError(SlipwayError):
    """Something that the request needs is unavailable."""

    code = Code.UNAVAILABLE


class ProviderUnavailable(UnavailableError):
    reason = "PROVIDER_UNAVAILABLE"
    meaning = "The provider failed on every attempt. The server has already retried, so the caller is told not to."


class ProviderCircuitOpen(UnavailableError):
    retryable = True
    reason = "PROVIDER_CIRCUIT_OPEN"
    meaning = "The provider failed so often that it is not called for a while. `RetryInfo` says how long."


class RetrievalUnavailable(UnavailableError):
    reason = "RETRIEVAL_UNAVAILABLE"
    meaning = "The vector store does not answer."


class EmbedderUnavailable(UnavailableError):
    reason = "EMBEDDER_UNAVAILABLE"
    meaning = "The embedding endpoint does not answer."


class FeedbackUnavailable(UnavailableError):
    retryable = True
    reason = "FEEDBACK_UNAVAILABLE"
    meaning = "The volume for feedback is full or hangs. It is safe to send the same feedback_id again."


class NotReady(UnavailableError):
    retryable = True
    reason = "NOT_READY"
    meaning = "The server has not finished its dry run yet."


# ---- the request was fine, the answer was not


class FailureError(SlipwayError):
    """The request was accepted but could not be answered."""

    code = Code.INTERNAL


class DeadlineTooShort(FailureError):
    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    meaning = "The caller's deadline passed, or the time left is too short for another attempt."


class AnswerUnparseable(FailureError):
    reason = "ANSWER_UNPARSEABLE"
    meaning = "Twice, the LM's answer lacked the fields of the signature."


class ProgramFailed(FailureError):
    reason = "PROGRAM_FAILED"
    meaning = "The program raised an exception. The server's log has it under the request id."


class InternalError(FailureError):
    reason = "INTERNAL"
    meaning = "A fault in the server. Its log has the details under the request id."


class DataCorrupt(FailureError):
    reason = "DATA_CORRUPT"
    meaning = "A stored file does not match its checksum."


def catalogue() -> list[type[SlipwayError]]:
    """Every error class with a reason of its own, in the order of this file."""
    found: list[type[SlipwayError]] = []
    queue: list[type[SlipwayError]] = list(SlipwayError.__subclasses__())
    while queue:
        cls = queue.pop(0)
        if "reason" in vars(cls):
            found.append(cls)
        queue[0:0] = cls.__subclasses__()
    return found
