"""What a sign-in through an OpenID provider begins and ends with. Apart from `edge.oidc`, which loads cryptography that
a deployment without a provider never needs.

Promise: values only.
"""

from __future__ import annotations

from typing import NamedTuple


class Begun(NamedTuple):
    """A sign-in that went off to the provider: where to send the browser, and sealed text to keep meanwhile."""

    url: str
    kept: str


class Identity(NamedTuple):
    """Whom the provider says somebody is. `email` is "" unless the provider says that it is verified."""

    issuer: str
    subject: str
    email: str
