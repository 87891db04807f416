"""Every attachment's Envoy against the table of holes, and what docs/SECURITY.md says of it."""

from __future__ import annotations

import pytest
from manifests import REPO

from tests.k8s.attachment_holes import OWNERS, bootstraps, found, table


@pytest.mark.parametrize("attachment", OWNERS)
def test_every_open_hole_has_an_owner_and_no_closed_one(attachment: str) -> None:
    assert found(bootstraps()[attachment]) == set(OWNERS[attachment])


def test_the_plain_containers_are_told_what_the_sidecar_is() -> None:
    """So what holds for `sidecar` holds for `sidecar-legacy`."""
    components = REPO / "k8s" / "components"
    native, legacy = ((components / name / "kustomization.yaml").read_text() for name in ("sidecar", "sidecar-legacy"))
    assert "../../base" in native
    assert "../../base" in legacy


def test_the_document_has_the_table() -> None:
    text = (REPO / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    assert table() in text, "put the output of python -m tests.k8s.attachment_holes there"
