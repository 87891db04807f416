"""`extproc inject-certificate`: the Job that gives the injector its certificate where there is no cert-manager."""

from __future__ import annotations

import argparse
import datetime
import sys

from extproc.attachment.certificate import ClusterApi, ensure
from extproc.model.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--namespace", default="extproc-system", metavar="NAME", help="of the injector (default: extproc-system)")
    add("--service", default="extproc-injector", metavar="NAME", help="that leads to it (default: extproc-injector)")
    add(
        "--secret", default="extproc-injector-tls", metavar="NAME", help="to be written (default: extproc-injector-tls)"
    )
    add("--webhook", default="extproc-injector", metavar="NAME", help="the MutatingWebhookConfiguration that trusts it")
    add("--api", default="https://kubernetes.default.svc", metavar="URL", help="of the API server")


def run(arguments: argparse.Namespace) -> int:
    host = f"{arguments.service}.{arguments.namespace}.svc"
    try:
        api = ClusterApi(arguments.api)
    except OSError as error:
        raise ConfigError("extproc inject-certificate", f"runs in a pod with a service account: {error}") from error
    now = datetime.datetime.now(datetime.UTC)
    said = ensure(api, arguments.namespace, arguments.secret, arguments.webhook, host, now)
    print(f"extproc: {said} for {host}", file=sys.stderr)
    return 0
