"""`penstock up`: the first start, and every later one, on a machine of one's own.

Promises: it works with no account anywhere; the owner's key goes into a file that only its owner can read, the first
caller's key is shown once; a second start finds both and says where they are; while no person is an owner, each start
shows a new one-time link that makes whoever opens it one, and nothing logs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.serve import with_port
from penstock.wiring import safety
from penstock.wiring.owner import ADMIN_KEY, FirstKeys, first_keys
from penstock.wiring.platform import Platform
from penstock.wiring.service import listen, run

MODEL = "local/extractive"
QUESTION = "The gate opens at nine. The mill is shut on Sunday. When does the gate open?"
WELCOME = """\
Penstock serves on {url}

  owner's key   {owner_file}   (mode 0600; `penstock keys`, `teams`, `usage` … find it there)
  first key     {caller}
{link}
  providers     {providers}
{unpriced}
Try it:

  curl {url}/v1/chat/completions \\
    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{model}", "messages": [{{"role": "user",
         "content": "{question}"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model="{model}", messages=[
      {{"role": "user", "content": "{question}"}}])
  print(answer.choices[0].message.content)

{model} is not a language model: it answers by quoting the sentences of your own conversation that fit the
question best, so that everything can be tried before any account exists. To add models, set a vendor's key in the
environment (OPENAI_API_KEY …) or start Ollama or vLLM on its usual port, and start again.

Ctrl-C drains and stops.
"""
LINK = """
Sign in to the console, as its first owner, by this link (it works once, for three days):

  {link}
"""
ELSEWHERE = "made before; `penstock keys create` makes another"


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a start tells, for programs. `caller_token` is there on the very first start only, `owner_link` while no
    person is an owner.
    """

    url: str
    owner_key_file: str
    caller_token: str
    owner_link: str
    providers: dict[str, int]
    unpriced: int
    model: str = MODEL


def up(
    *,
    port: Annotated[int | None, Parameter(show_default=False)] = None,
    deployment: Deployment = DEFAULTS,
) -> None:
    """Start Penstock for the first time, or again, on this machine.

    Parameters
    ----------
    port
        TCP port, instead of `server.port` (8700).
    """
    settings = with_port(deployment.settings(), port)
    env = deployment.environment()
    safety.check(settings, workers=1, admin_key=env.get(ADMIN_KEY, ""))
    listening = listen(settings.server.host, settings.server.port)

    async def greet(platform: Platform) -> None:
        keys = await first_keys(platform.tenancy, Path(settings.store.data))
        told = welcome(platform, keys, await platform.people.owner_link())
        text = msgspec.json.encode(told).decode() + "\n" if deployment.json else for_people(told)
        sys.stdout.write(text)
        sys.stdout.flush()

    run(settings, env, listening, greet=greet, file=deployment.file())


def welcome(platform: Platform, keys: FirstKeys, link_token: str | None) -> Welcome:
    """Return what is to be told."""
    server = platform.settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    url = f"{'https' if server.tls_cert else 'http'}://{host}:{platform.port}"
    console = next(iter(platform.settings.auth.console_urls), url).rstrip("/")
    return Welcome(
        url=url,
        owner_link=f"{console}/console/link?token={link_token}" if link_token else "",
        owner_key_file=str(keys.owner_file),
        caller_token=keys.caller_token,
        providers={name: len(each.models) for name, each in platform.catalogue.providers().items()},
        unpriced=len(platform.catalogue.current().unpriced),
    )


def for_people(told: Welcome) -> str:
    """Word it."""
    providers = (
        f"{name} ({count} model{'' if count == 1 else 's'})" for name, count in told.providers.items()
    )
    unpriced = (
        f"                {told.unpriced} models have no price and are not served: see `penstock status`\n"
        if told.unpriced
        else ""
    )
    return WELCOME.format(
        url=told.url,
        owner_file=told.owner_key_file,
        caller=f"{told.caller_token}   (shown only now)" if told.caller_token else ELSEWHERE,
        key=told.caller_token or "YOUR-KEY",
        link=LINK.format(link=told.owner_link) if told.owner_link else "",
        providers=", ".join(providers),
        unpriced=unpriced,
        model=told.model,
        question=QUESTION,
    )
