"""The generated code in the repository is what the proto files say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("extproc_generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_code_is_up_to_date(generator: ModuleType, tmp_path: Path) -> None:
    generator.generate(tmp_path)
    committed = ROOT / "extproc" / "_pb"
    fresh = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*.py")}
    kept = {p.relative_to(committed): p.read_text() for p in (committed / "envoy").rglob("*.py")}
    assert kept == fresh, "run `make gen` and commit what it writes"


def test_generated_code_imports_no_top_level_envoy() -> None:
    import extproc._pb.envoy.service.ext_proc.v3.external_processor_pb2 as generated

    foreign = [name for name in sys.modules if name == "envoy" or name.startswith("envoy.")]
    assert not foreign
    assert generated.DESCRIPTOR.services_by_name["ExternalProcessor"].methods_by_name["Process"]


@pytest.mark.parametrize(
    ("line", "depth", "made"),
    [
        ("from envoy.type.v3 import x_pb2 as x", 5, "from ......envoy.type.v3 import x_pb2 as x"),
        ("from envoy import x_pb2", 1, "from ..envoy import x_pb2"),
        ("from google.protobuf import any_pb2", 5, "from google.protobuf import any_pb2"),
        ("from envoyish.v1 import x_pb2", 2, "from envoyish.v1 import x_pb2"),
    ],
)
def test_imports_become_relative(generator: ModuleType, line: str, depth: int, made: str) -> None:
    assert generator.relative_imports(line, depth) == made
