"""The programs that docs/kubernetes names, as its commands meet them when no cluster is there.

    python tests/k8s/page_programs.py PROGRAM FOLDER ARGUMENT...        (by the scripts that test_pages.py puts on PATH)

What renders or rewrites is done for real. What asks a cluster is given to the real kubectl or helm ($REAL_HELM), which
finds nobody at its address: had a flag, a verb or an argument been wrong, it would have said so instead. FOLDER
remembers which ports a page forwarded, so that its `curl` asks one of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from custom_resources import errors, is_custom
from manifests import PROGRAMS, REPO, Tree, UnavailableError, documents, is_core, kustomize, schema_errors

NOBODY = "http://127.0.0.1:1"
REFUSED = re.compile(r"connection refused|was refused|cluster unreachable", re.IGNORECASE)
EXAMPLE = REPO / "k8s" / "examples" / "app"
EMPTY_DUMP = '{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"}]}'
IMAGES = {"extproc:latest", "extproc-envoy:latest"}
SENT = ("apply", "delete", "diff")
VERBS = (*SENT, "get", "kustomize", "logs", "port-forward")
"""Of kubectl, that something more is done for than to ask nobody."""

LIMIT_S = 40


class WrongCommandError(Exception):
    """The text says what is wrong in a command of a page."""


def kubectl(arguments: list[str], folder: Path) -> str:
    """What it would write."""
    verb = next((one for one in arguments if one in VERBS), "")
    if verb == "kustomize":
        return kustomize(Path(arguments[1]))
    sent = None
    if verb in SENT and "-k" in arguments:
        _check(documents(kustomize(Path(_after(arguments, "-k")))))
    elif verb in SENT and "-f" in arguments:
        file = _after(arguments, "-f")
        sent = sys.stdin.read() if file == "-" else Path(file).read_text()
        _check(documents(sent))
    told = _ask_nobody([PROGRAMS / "kubectl", f"--server={NOBODY}", "--kubeconfig=/dev/null", *arguments], sent)
    if verb == "port-forward":
        (ports,) = [one for one in arguments if re.fullmatch(r"\d+:\d+", one)]
        with (folder / "forwarded").open("a") as file:
            file.write(ports.partition(":")[0] + "\n")
    if verb == "logs":
        return '{"verdict": "allow", "would": "block"}\n'
    return _gotten(arguments) if verb == "get" else told


def _gotten(arguments: list[str]) -> str:
    """What a cluster with the example app in it would tell."""
    if "name" in arguments:
        return "service/found\n"
    if "yaml" in arguments:
        files = [yaml.safe_load((EXAMPLE / name).read_text()) for name in ("deployment.yaml", "service.yaml")]
        return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": files})
    return (
        '{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": {}, "metadata": {"name": "x"}}\n'
    )


def _check(trees: list[Tree]) -> None:
    """What an API server would say of these objects first."""
    if not trees:
        raise WrongCommandError("there is nothing to send")
    wrong = schema_errors([tree for tree in trees if is_core(tree)])
    for tree in trees:
        if is_custom(tree):
            try:
                wrong += errors(tree)
            except UnavailableError as reason:
                sys.stderr.write(f"not held against its definition: {reason}\n")
    if wrong:
        raise WrongCommandError("; ".join(wrong))


def helm(arguments: list[str], folder: Path) -> str:
    found = os.environ["REAL_HELM"]  # the one on PATH is this one
    verb, *rest = arguments
    if verb in ("template", "lint"):
        return _done([found, *arguments])
    if verb == "install" or (verb == "upgrade" and "-i" in rest):
        return _done([found, "install", *[one for one in rest if one != "-i"], "--dry-run=client"])
    return _ask_nobody([found, f"--kube-apiserver={NOBODY}", *arguments], None)


def docker(arguments: list[str], folder: Path) -> str:
    """No image is built here (`test_image_files.py`, and the pod's own tests do that)."""
    if arguments[0] != "build" or arguments[-1] != "." or _after(arguments, "-t") not in IMAGES:
        raise WrongCommandError("only our images are built, from here")
    if "--target" in arguments and f" AS {_after(arguments, '--target')}\n" not in (REPO / "Dockerfile").read_text():
        raise WrongCommandError("the Dockerfile has no such target")
    return ""


def kind(arguments: list[str], folder: Path) -> str:
    if arguments[:2] != ["load", "docker-image"] or not set(arguments[2:]) <= IMAGES:
        raise WrongCommandError("only our images are loaded")
    return ""


def curl(arguments: list[str], folder: Path) -> str:
    """What is answered is for the tests of pods to say; here, whether anybody was there to be asked."""
    (url,) = [one for one in arguments if not one.startswith("-")]
    found = re.match(r"(?:http://)?localhost:(\d+)/", url)
    if found is None or found[1] not in (folder / "forwarded").read_text().split():
        raise WrongCommandError(f"no port was forwarded for {url}")
    return ""


def extproc(arguments: list[str], folder: Path) -> str:
    command = [sys.executable, "-m", "extproc", *arguments]
    if arguments[0] == "check" and not Path(arguments[1]).read_text():
        Path(arguments[1]).write_text(EMPTY_DUMP)  # nobody was there to dump a configuration
    read = None if sys.stdin.isatty() else sys.stdin
    done = subprocess.run(command, stdin=read, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    # What asks a running pair finds nothing good here, and an empty dump has no listener; other wrong input is 2.
    is_known = arguments[0] == "doctor" and done.returncode == 1
    if done.returncode != 0 and not is_known and "uninspected-listener" not in done.stdout + done.stderr:
        raise WrongCommandError(done.stdout + done.stderr)
    return done.stdout


def _after(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def _done(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode != 0:
        raise WrongCommandError(done.stdout + done.stderr)
    return done.stdout


def _ask_nobody(command: list[str | Path], sent: str | None) -> str:
    """Nothing, once the program has understood the command and found nobody. Raises WrongCommandError."""
    done = subprocess.run(command, input=sent or "", capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode != 0 and not REFUSED.search(done.stderr):
        raise WrongCommandError(done.stderr)
    return done.stdout


PAGE_PROGRAMS = {"kubectl": kubectl, "helm": helm, "docker": docker, "kind": kind, "curl": curl, "extproc": extproc}

if __name__ == "__main__":
    try:
        sys.stdout.write(PAGE_PROGRAMS[sys.argv[1]](sys.argv[3:], Path(sys.argv[2])))
    except (WrongCommandError, UnavailableError, subprocess.CalledProcessError) as wrong:
        sys.exit(f"{' '.join(sys.argv[3:])}: {getattr(wrong, 'stderr', '')} {wrong}")
