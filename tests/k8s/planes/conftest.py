"""Makes this folder's modules importable by its tests, and those of tests/k8s; one API server serves them all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster import Cluster
from istiod import Istiod
from plane_build import find
from test_istio_filter import why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd, API server and controllers with the custom resources; no kubelet, no scheduler, no network."""
    programs = find("kube")
    if isinstance(programs, str):
        print(f"no API server: {programs}")
        pytest.skip(f"no API server: {programs}")
    cluster = Cluster(programs, tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def istiod(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Istiod]:
    """istiod, with what its proxies need besides; every proxy runs in a network namespace of its own."""
    programs = find("istio")
    reason = why_not() if isinstance(programs, Path) else programs
    if reason is not None:
        print(f"no istiod: {reason}")
        pytest.skip(f"no istiod: {reason}")
    assert isinstance(programs, Path)
    istiod = Istiod(cluster, programs, tmp_path_factory.mktemp("istiod"))
    try:
        yield istiod
    finally:
        istiod.stop()
