"""What a reviewer says about a name: as JSON on a topic, or on the command line."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kie_ops.errors import InputError

MAX_TEXT = 1_000
NEXT = 'a correction looks like {"id": "r-17", "text": "Lefamulin", "label": "Chemical"}; see docs/operations.md'


class Correction(BaseModel):
    """One correction: `text` is a `label` (and stands for `concept`), or with `reject` it is no mention at all.

    `op` withdraw takes back the correction with this `id`, also before it arrives.  `doc_id`, `start` and `end`
    (character offsets, end exclusive) say where the reviewer saw it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=MAX_TEXT)

    id: str = Field(min_length=1, max_length=200)
    op: Literal["add", "withdraw"] = "add"
    text: str | None = Field(None, min_length=1, validation_alias=AliasChoices("text", "surface"))
    label: str | None = Field(None, min_length=1, max_length=200)
    reject: bool = False
    concept: str | None = Field(None, min_length=1, max_length=200)
    scheme: str | None = Field(None, min_length=1, max_length=200)
    doc_id: str | None = None
    start: int | None = Field(None, ge=0)
    end: int | None = Field(None, ge=0)
    reviewer: str | None = None
    reason: str | None = None

    @field_validator("*", mode="after")
    @classmethod
    def _encodable(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("holds half a surrogate pair, which no UTF-8 can express") from None
            if not value.strip():
                raise ValueError("is empty")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Correction:
        if self.op == "add" and self.text is None:
            raise ValueError("names no text")
        if self.op == "add" and not self.reject and self.label is None:
            raise ValueError("has neither a label nor reject")
        if (self.start is None) != (self.end is None):
            raise ValueError("has a start or an end, but not both")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("its end is not behind its start")
        return self

    def meta(self) -> dict[str, Any]:
        """What is kept of it next to its increments."""
        return self.model_dump(mode="json", exclude={"id", "op"}, exclude_none=True, exclude_defaults=True)


def validate(data: object) -> Correction:
    """`data` (a JSON object) as a correction.  Raises InputError, which names the field and holds no other text."""
    if not isinstance(data, Mapping):
        raise InputError("a correction is a JSON object", next_step=NEXT)
    try:
        return Correction.model_validate(dict(data))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the correction"
        raise InputError(f"{field}: {first['msg'].removeprefix('Value error, ')}", next_step=NEXT) from None


def new_id() -> str:
    """An id for a correction that has none of its own."""
    return f"c-{uuid.uuid4().hex[:16]}"
