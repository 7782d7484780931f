"""Keys as they are asked for and shown.

Promise: what a caller may set stands here and nothing else; no view holds a token (but `MadeKey`, once) or a MAC.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.gateway.management.bodies import (
    Body,
    CapBody,
    Caps,
    Count,
    Flag,
    Label,
    Models,
    Name,
    Nanos,
    RateBody,
)


class KeyBody(Body):
    """A key to be made. `role` admin may manage its own organisation; only an owner may make admins."""

    org: Name = "default"
    team: Name = "default"
    project: Name = "default"
    user: Name = "default"
    name: Label = ""
    role: Literal["caller", "admin", "owner"] = "caller"
    tier: Name = "standard"
    models: Models = Field([])
    rate: RateBody = RateBody()
    caps: Caps = Field([])
    max_input_tokens: Count = 0
    max_output_tokens: Count = 0
    max_request_nanos: Nanos = 0
    expires_in_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400, strict=True)] = 0
    end_users: Flag = False


class KeyPatch(Body):
    """What changes of a key; what is not given stays. Whose it is and its role never change."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Label = ""
    models: Models = Field([])
    rate: RateBody = RateBody()
    caps: Caps = Field([])
    max_input_tokens: Count = 0
    max_output_tokens: Count = 0
    max_request_nanos: Nanos = 0


class RotateBody(Body):
    """A rotation: the old key goes on for `overlap_s` seconds."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 3600


class KeyView(BaseModel):
    """A key as it is shown: never its token, never its MAC. Times are seconds since 1970, 0 for never."""

    id: str
    org: str
    team: str
    project: str
    user: str
    name: str
    role: str
    tier: str
    models: list[str]
    rate: RateBody
    caps: list[CapBody]
    max_input_tokens: int
    max_output_tokens: int
    max_request_nanos: int
    created_s: float
    expires_s: float
    revoked_s: float
    end_users: bool


class MadeKey(BaseModel):
    """A new key. `token` is shown only here."""

    key: KeyView
    token: str
