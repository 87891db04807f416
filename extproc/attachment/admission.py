"""The injector's decision: AdmissionReview in, AdmissionReview out. No pod that should have the pair gets in without.

Source: the API reference of `admission.k8s.io/v1`, and *Dynamic Admission Control* of the Kubernetes documentation.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.attachment.operations import look
from extproc.attachment.settings import ENGINE, ENVOY, INJECT_LABEL, AttachError, AttachSettings
from extproc.attachment.sidecar import attach_operations, attached_containers

VERSION = "admission.k8s.io/v1"


class ReviewError(ValueError):
    """What came is no AdmissionReview of a pod; the message is safe to send back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome` is `injected`, `unchanged` or `denied`; `review` is what goes back."""

    outcome: str
    review: dict[str, Any]


def review(body: bytes, settings: AttachSettings) -> Answer:
    """The answer to one AdmissionReview, JSON. Raises ReviewError for what is none."""
    request = _request(body)
    uid, pod = request["uid"], request["object"]
    if look(pod, "metadata", "labels", INJECT_LABEL) == "false":
        return _answer(uid, "unchanged")
    try:
        if attached_containers(pod):
            _check_present(pod, settings)
            return _answer(uid, "unchanged")
        operations = attach_operations(pod, settings)
    except AttachError as error:
        return _answer(uid, "denied", message=f"extproc: {error}")
    # The paths were worked out for this object: of another one they would change the wrong container.
    guard = {"op": "test", "path": "/spec/containers/0/name", "value": look(pod, "spec", "containers", 0, "name")}
    return _answer(uid, "injected", patch=[guard, *(operation.to_json() for operation in operations)])


def _request(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ReviewError("the body is not JSON") from error
    if not isinstance(found, dict) or found.get("kind") != "AdmissionReview":
        raise ReviewError("the body is no AdmissionReview")
    if found.get("apiVersion") != VERSION:
        raise ReviewError(f"the AdmissionReview is not of {VERSION}")
    request = found.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str) or not request["uid"]:
        raise ReviewError("the AdmissionReview has no request with a uid")
    pod = request.get("object")
    if not isinstance(pod, dict) or pod.get("kind", "Pod") != "Pod":
        raise ReviewError("the request's object is no Pod")
    containers = look(pod, "spec", "containers")
    if not isinstance(pod.get("metadata"), dict) or not isinstance(containers, list) or not containers:
        raise ReviewError("the request's Pod has no metadata or no containers")
    if not all(isinstance(one, dict) for one in containers):
        raise ReviewError("the request's Pod has containers that are none")
    return request


def _check_present(pod: Mapping[str, Any], settings: AttachSettings) -> None:
    """A pod that has the pair passes as it is; a name alone is no proof. Raises AttachError."""
    wanted = {ENGINE: settings.image, ENVOY: settings.envoy_image}
    for name, image in wanted.items():
        found = [
            container
            for kind in ("initContainers", "containers")
            for container in look(pod, "spec", kind) or []
            if container.get("name") == name
        ]
        if not found:
            raise AttachError(f"has a container of the pair, but no {name}")
        if repository(str(found[0].get("image", ""))) != repository(image):
            raise AttachError(
                f"its container {name} does not run {repository(image)}; take it out, or the label {INJECT_LABEL}"
            )


def repository(image: str) -> str:
    """An image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"


def _answer(uid: str, outcome: str, *, patch: list[dict[str, Any]] | None = None, message: str = "") -> Answer:
    response: dict[str, Any] = {"uid": uid, "allowed": outcome != "denied"}
    if patch is not None:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    if message:
        response["status"] = {"code": 403, "message": message}
    return Answer(outcome, {"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
