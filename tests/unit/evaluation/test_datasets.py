# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path

import dspy
import pytest

from slipway_server.errors import DatasetInvalid, InputWrongType
from slipway_server.evaluation import Dataset, read_dataset


def read(tmp_path: Path, text: str, **options: object) -> Dataset:
    path = tmp_path / "dev.jsonl"
    path.write_text(text, encoding="utf-8")
    return read_dataset(path, **{"inputs": ["question"], "outputs": ["reasoning", "answer"], **options})


def test_inputs_labels_and_what_is_kept_aside(tmp_path: Path) -> None:
    line = '{"question": "q", "answer": "a", "gold_titles": ["t"], "level": "hard"}\n'
    dataset = read(tmp_path, line + "\n" + line)
    assert dataset.digest == hashlib.sha256((line + "\n" + line).encode()).hexdigest()
    assert len(dataset.examples) == 2
    example = dataset.examples[0]
    assert dict(example.inputs()) == {"question": "q"}
    assert example.labels().keys() == ["answer"]
    assert example.gold_titles == ["t"]
    assert example["level"] == "hard"
    assert "gold_titles" not in example.keys()  # noqa: SIM118
    assert "hard" not in repr(example)


def test_what_is_kept_aside_survives_copies(tmp_path: Path) -> None:
    example = read(tmp_path, '{"question": "q", "answer": "a", "level": 1}').examples[0]
    for copied in (example.copy(), copy.deepcopy(example), pickle.loads(pickle.dumps(example))):
        assert copied.level == 1
        with pytest.raises(AttributeError):
            _ = copied.nosuch


def test_it_never_reaches_a_prompt(tmp_path: Path) -> None:
    example = read(tmp_path, '{"question": "q", "answer": "a", "gold_titles": ["SECRET"]}').examples[0]
    signature = dspy.Signature("question -> answer")
    assert "SECRET" not in str(dspy.ChatAdapter().format(signature, [example], {"question": "x"}))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "has no examples"),
        ("\n\n", "has no examples"),
        ('{"question": "q", "answer": "a"}\n{"question": ', "dev.jsonl:2: is not JSON"),
        ("[1]", "dev.jsonl:1: is not a JSON object"),
        ('{"answer": "a"}', "dev.jsonl:1: lacks the input 'question'"),
        ('{"question": "q"}', "dev.jsonl:1: has no label, none of reasoning, answer"),
        ('{"question": "q", "level": 1}', "has no label"),
        ('{"question": "q", "answer": null}', "dev.jsonl:1: has no label"),
    ],
)
def test_a_bad_file_names_itself_and_the_line(text: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        read(tmp_path, text)
    assert hint in caught.value.message


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeff{"question": "q", "answer": "a"}').examples[0].question == "q"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no such file"):
        read_dataset(tmp_path / "nosuch.jsonl", inputs=["question"], outputs=["answer"])
    with pytest.raises(DatasetInvalid, match="is a directory"):
        read_dataset(tmp_path, inputs=["question"], outputs=["answer"])


def test_inputs_are_checked_and_converted(tmp_path: Path) -> None:
    def check(inputs: object) -> dict[str, object]:
        if inputs != {"question": "q"}:
            raise InputWrongType("field 'question': input should be a valid string")
        return {"question": "converted"}

    assert read(tmp_path, '{"question": "q", "answer": "a"}', check=check).examples[0].question == "converted"
    with pytest.raises(DatasetInvalid, match=r"dev.jsonl:1: field 'question'"):
        read(tmp_path, '{"question": 1, "answer": "a"}', check=check)


def test_unknown_outputs_make_every_other_key_a_label(tmp_path: Path) -> None:
    example = read(tmp_path, '{"question": "q", "reply": "a", "x": 1}', outputs=[]).examples[0]
    assert example.labels().keys() == ["reply", "x"]


def test_fields_may_have_any_name(tmp_path: Path) -> None:
    row = '{"base": 2, "self": 3, "answer": "8"}'
    example = read(tmp_path, row, inputs=["base", "self"]).examples[0]
    assert dict(example.inputs()) == {"base": 2, "self": 3}
    assert example.labels().keys() == ["answer"]
    assert read(tmp_path, '{"question": "q", "self": 1}', outputs=[]).examples[0].labels().keys() == ["self"]
