"""Every route the platform serves, each with its policy; what is not here is not served."""

from __future__ import annotations

from penstock.edge.asgi import AsgiBridge
from penstock.edge.probes import Probes
from penstock.edge.routes import Policy
from penstock.gateway.faces import COMPLETIONS, OPENAI, RESPONSES, anthropic_face
from penstock.sdk.replies import Status
from penstock.wiring.console import mount_console
from penstock.wiring.faces import declare_faces
from penstock.wiring.management import PREFIX, management
from penstock.wiring.platform import Platform
from penstock.wiring.sight import readiness
from penstock.wiring.status import version


def declare_routes(platform: Platform) -> None:
    """Declare every route with its policy."""
    routes, chats = platform.routes, platform.chats
    probes = Probes(lambda: readiness(platform), platform.metrics.render)
    routes.add("POST", "/v1/chat/completions", Policy.CALLER, chats.speaking(OPENAI))
    routes.add("POST", "/v1/responses", Policy.CALLER, chats.speaking(RESPONSES))
    routes.add("POST", "/v1/completions", Policy.CALLER, chats.speaking(COMPLETIONS))
    routes.add("POST", "/v1/messages", Policy.CALLER, chats.speaking(anthropic_face(platform.clock)))
    declare_faces(platform)
    routes.add("GET", "/healthz", Policy.PUBLIC, probes.alive)
    routes.add("GET", "/readyz", Policy.PUBLIC, probes.ready)
    routes.add("GET", "/metrics", Policy.METRICS, probes.metrics)
    started_s = platform.clock.monotonic_s()
    api = management(platform, lambda: status(platform, started_s))
    routes.mount(PREFIX, Policy.DECLARED, AsgiBridge(api, platform.authenticator.caller).serve)
    mount_console(platform)


def status(platform: Platform, started_s: float) -> Status:
    """Tell how the platform is; `started_s` is on its monotonic clock."""
    works = readiness(platform)
    draining = works.pop("draining")
    loads, metering = platform.catalogue.loads, platform.metering
    return Status(
        version=version(),
        uptime_s=platform.clock.monotonic_s() - started_s,
        draining=draining,
        dependencies=works,
        in_flight=platform.server.stats.in_flight,
        connections=platform.server.stats.connections,
        providers={name: len(each.models) for name, each in platform.catalogue.providers().items()},
        breakers=platform.resilience.states(),
        models=len(tuple(platform.catalogue.current().models())),
        unpriced=platform.catalogue.current().unpriced,
        audit_waiting=platform.audit.queued,
        audit_dropped=platform.audit.dropped,
        metering_waiting=None if metering is None else metering.pipe.queued,
        metering_dropped=None if metering is None else metering.pipe.dropped,
        quotas={} if loads is None else loads.quotas.shares_left(),
    )
