"""What to do where a certificate is not taken: a clock, a proxy that looks into TLS, or a liar."""

from __future__ import annotations

# OpenSSL's words for dates; a machine whose clock is years off finds all certificates so.
_DATES = ("certificate is not yet valid", "certificate has expired")


def about(words: str, variable: str) -> str:
    """By what was said; empty: it is not about a certificate. `variable` names the file whose
    certificates are trusted there."""
    if "CERTIFICATE_VERIFY_FAILED" not in words:
        return ""
    if any(said in words for said in _DATES):
        return "see this machine's clock first (`timedatectl`), then the dates of its certificate"
    if "self-signed" in words or "local issuer" in words:
        return f"where a proxy here looks into TLS, {variable} names a file with its certificate"
    return "who answers there is another: check the URL's host, and what DNS says of it"
