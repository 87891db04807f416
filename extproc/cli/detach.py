"""`extproc detach`: takes out what `extproc attach` put in, to the byte."""

from __future__ import annotations

import argparse

from extproc.attachment.manifests import Manifests
from extproc.attachment.settings import AttachError
from extproc.attachment.yaml_text import YamlTextError
from extproc.cli.attach import add_files, read_files, write_result
from extproc.model.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser)


def run(arguments: argparse.Namespace) -> int:
    names, texts = read_files([*arguments.files, *arguments.filename])
    try:
        result = Manifests(names, texts).detach(arguments.workload)
    except (AttachError, YamlTextError) as error:
        raise ConfigError("extproc detach", str(error)) from error
    write_result(names, texts, result, is_diff=arguments.diff)
    return 0
