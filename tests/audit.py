"""Are vulnerabilities known in what is installed? `python -m tests.audit`; exits with 1 if so.

pip-audit asks PyPI, then OSV. Behind a mirror that serves packages alone, or without a network,
there is nobody to ask: then this says loudly that nothing was looked for, and stops no work.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SERVICES = ("pypi", "osv")
GIVE_UP_SECONDS = 180

Packages = list[dict[str, Any]]


def main(services: Sequence[str]) -> int:
    """Ask the services, the next one about what the last did not know. The exit code."""
    packages: Packages = []
    for service in services:
        if not packages or _unknown(packages):
            packages = _merged(packages, _ask(service))
    text, code = report(packages)
    sys.stdout.write(text + "\n")
    return code


def _merged(known: Packages, answers: Packages) -> Packages:
    """What is known of each package; an answer about its vulnerabilities counts more than none."""
    by_name = {p["name"]: p for p in answers} | {p["name"]: p for p in known if "vulns" in p}
    return [by_name.get(p["name"], p) for p in answers or known]


def report(packages: Packages) -> tuple[str, int]:
    """What to say about these packages, as pip-audit lists them, and the exit code."""
    unknown = _unknown(packages)
    if len(unknown) == len(packages):
        return "DID NOT RUN: no vulnerability service answers here. Nothing was looked for.", 0
    vulnerable = [p for p in packages if p.get("vulns")]
    lines = [f"VULNERABLE: {_in_words(p)}" for p in vulnerable]
    if unknown:
        lines.append(f"Not looked for, unknown to the service: {', '.join(unknown)}")
    lines.append(f"{len(packages) - len(unknown)} packages checked, {len(vulnerable)} vulnerable.")
    return "\n".join(lines), int(bool(vulnerable))


def _ask(service: str) -> Packages:
    """What pip-audit says of every installed package; empty if the service does not answer."""
    options = ("--vulnerability-service", service, "--format", "json", "--progress-spinner", "off")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options],
            capture_output=True,
            text=True,
            timeout=GIVE_UP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"{service}: no answer within {GIVE_UP_SECONDS} seconds\n")
        return []
    try:
        found: Packages = json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        sys.stderr.write(f"{service}: {done.stderr.strip().splitlines()[-1][:200]}\n")
        return []
    return found


def _unknown(packages: Packages) -> list[str]:
    return [p["name"] for p in packages if "vulns" not in p]


def _in_words(package: dict[str, Any]) -> str:
    known = "; ".join(
        f"{one['id']}, fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
        for one in package["vulns"]
    )
    return f"{package['name']} {package['version']}: {known}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SERVICES))
