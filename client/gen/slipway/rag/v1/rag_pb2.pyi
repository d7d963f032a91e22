from slipway.v1 import receipt_pb2 as _receipt_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AskRequest(_message.Message):
    __slots__ = ("question", "routing_key", "pin", "request_id", "bypass_cache")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BYPASS_CACHE_FIELD_NUMBER: _ClassVar[int]
    question: str
    routing_key: str
    pin: str
    request_id: str
    bypass_cache: bool
    def __init__(self, question: _Optional[str] = ..., routing_key: _Optional[str] = ..., pin: _Optional[str] = ..., request_id: _Optional[str] = ..., bypass_cache: _Optional[bool] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("answer", "reasoning", "citations", "receipt")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    answer: str
    reasoning: str
    citations: _containers.RepeatedCompositeFieldContainer[_receipt_pb2.Citation]
    receipt: _receipt_pb2.Receipt
    def __init__(self, answer: _Optional[str] = ..., reasoning: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[_receipt_pb2.Citation, _Mapping]]] = ..., receipt: _Optional[_Union[_receipt_pb2.Receipt, _Mapping]] = ...) -> None: ...
