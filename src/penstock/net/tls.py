"""TLS contexts for both sides: TLS 1.2 or newer, verified by default, with errors that name the file and the remedy."""

from __future__ import annotations

import ssl
from pathlib import Path

from penstock.kernel.errors import Invalid


def server_context(
    cert_file: str | Path, key_file: str | Path, *, client_ca_file: str | Path | None = None
) -> ssl.SSLContext:
    """A server's context from PEM files; with `client_ca_file`, clients must show a certificate of that authority."""
    _must_exist(cert_file, "tls.cert_file", "Give the certificate chain as PEM.")
    _must_exist(key_file, "tls.key_file", "Give the private key as unencrypted PEM.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # an encrypted key would otherwise stop and ask the terminal
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise Invalid(
            f"The certificate and its key cannot be used: {_reason(error)}.",
            field="tls.cert_file",
            value=f"{cert_file} + {key_file}",
            remedy="Check that both are PEM, that the key is not encrypted and belongs to the certificate.",
        ) from None
    if client_ca_file is not None:
        _load_authorities(context, client_ca_file, "tls.client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*, ca_file: str | Path | None = None) -> ssl.SSLContext:
    """A client's context: the system's authorities, or only those in `ca_file`. Names are always verified."""
    context = ssl.create_default_context() if ca_file is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        _must_exist(ca_file, "tls.ca_file", "Give the authorities' certificates as PEM.")
        _load_authorities(context, ca_file, "tls.ca_file")
    return context


def _must_exist(path: str | Path, field: str, remedy: str) -> None:
    if not Path(path).is_file():
        raise Invalid(
            "The file does not exist or cannot be read.", field=field, value=str(path), remedy=remedy
        )


def _load_authorities(context: ssl.SSLContext, path: str | Path, field: str) -> None:
    _must_exist(path, field, "Give the authorities' certificates as PEM.")
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise Invalid(
            f"The authorities cannot be loaded: {_reason(error)}.",
            field=field,
            value=str(path),
            remedy="Check that the file holds certificates as PEM.",
        ) from None


def _no_password() -> str:
    return ""


def _reason(error: Exception) -> str:
    """OpenSSL's own word for it, else the error's kind; never the file's content."""
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)
