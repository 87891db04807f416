"""The injector's decision: every pod that should have the pair gets it, or is told why not."""

from __future__ import annotations

import base64
import copy
import json

import jsonpatch
import pytest

from extproc.attachment.admission import ReviewError, repository, review
from extproc.attachment.settings import AttachSettings
from extproc.attachment.sidecar import attached_containers

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "shop-", "labels": {"app": "shop", "extproc.dev/inject": "true"}},
    "spec": {"containers": [{"name": "shop", "image": "shop", "ports": [{"name": "http", "containerPort": 3000}]}]},
}


def body(pod: object, **request: object) -> bytes:
    found = {"uid": "u-1", "namespace": "shop", "operation": "CREATE", "object": pod, **request}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": found}).encode()


def patched(pod: dict, settings: AttachSettings = AttachSettings()) -> dict:  # noqa: B008 - frozen
    response = review(body(pod), settings).review["response"]
    assert (response["allowed"], response["patchType"]) == (True, "JSONPatch")
    result: dict = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(response["patch"])))
    return result


def changed(**spec: object) -> dict:
    pod = copy.deepcopy(POD)
    pod["spec"].update(spec)  # type: ignore[attr-defined]
    return pod


def annotated(**annotations: str) -> dict:
    pod = copy.deepcopy(POD)
    pod["metadata"]["annotations"] = {f"extproc.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}  # type: ignore[index]
    return pod


def test_the_pair_comes_in_and_the_answer_names_the_request() -> None:
    answer = review(body(POD), AttachSettings())
    assert answer.outcome == "injected"
    assert answer.review["response"]["uid"] == "u-1"
    pod = patched(POD)
    assert attached_containers(pod) == {"extproc-engine", "extproc-envoy"}
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "app-http", "containerPort": 3000}]
    assert pod["spec"]["initContainers"][1]["ports"] == [{"name": "http", "containerPort": 8000}]


@pytest.mark.parametrize(
    "pod",
    [
        changed(initContainers=[{"name": "istio-proxy", "restartPolicy": "Always"}], volumes=[{"name": "v"}]),
        annotated(mode="block", listen_port="15080"),
        changed(containers=[{"name": "a", "ports": [{"containerPort": 1}]}, {"name": "b"}]),
    ],
    ids=["lists there", "annotations there", "two containers"],
)
def test_what_was_there_stays(pod: dict) -> None:
    after = patched(pod)
    for kind in ("initContainers", "volumes"):
        assert after["spec"][kind][: len(pod["spec"].get(kind, []))] == pod["spec"].get(kind, [])
    assert pod["metadata"].get("annotations", {}).items() <= after["metadata"]["annotations"].items()


def test_a_second_call_changes_nothing() -> None:
    """`reinvocationPolicy: IfNeeded`: another webhook changed the pod, and the API server asks again."""
    pod = patched(POD)
    pod["spec"]["initContainers"][0]["env"].append({"name": "FROM_ANOTHER", "value": "webhook"})
    answer = review(body(pod), AttachSettings())
    assert (answer.outcome, answer.review["response"]) == ("unchanged", {"uid": "u-1", "allowed": True})


def test_mode_comes_from_the_annotation_else_the_injector() -> None:
    def mode(pod: dict, default: str) -> str:
        engine = patched(pod, AttachSettings(default_mode=default))["spec"]["initContainers"][0]
        return str(next(one["value"] for one in engine["env"] if one["name"] == "EXTPROC_MODE"))

    assert mode(POD, "monitor") == "monitor"
    assert mode(POD, "block") == "block"
    assert mode(annotated(mode="off"), "block") == "off"


def test_false_wins() -> None:
    pod = copy.deepcopy(POD)
    pod["metadata"]["labels"]["extproc.dev/inject"] = "false"  # type: ignore[index]
    assert review(body(pod), AttachSettings()).outcome == "unchanged"


FAKE = [{"name": "extproc-engine", "image": "busybox"}, {"name": "extproc-envoy", "image": "busybox"}]

DENIED = {
    "no port": (changed(containers=[{"name": "a"}]), "--app-port"),
    "several ports": (
        changed(containers=[{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]),
        "several",
    ),
    "the node's network": (changed(hostNetwork=True), "hostNetwork"),
    "only half of the pair": (changed(initContainers=FAKE[:1]), "does not run extproc"),
    "containers that bear the names": (changed(initContainers=FAKE), "does not run extproc"),
    "a wrong mode": (annotated(mode="blok"), "blok"),
    "a wrong port": (annotated(listen_port="http"), "must be a TCP port"),
    "a taken port": (annotated(listen_port="3000"), "taken"),
}


@pytest.mark.parametrize(("pod", "said"), DENIED.values(), ids=DENIED)
def test_rather_no_pod_than_one_without_the_pair(pod: dict, said: str) -> None:
    answer = review(body(pod), AttachSettings())
    response = answer.review["response"]
    assert (answer.outcome, response["allowed"], "patch" in response) == ("denied", False, False)
    assert response["status"]["code"] == 403
    assert said in response["status"]["message"]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}',
        b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}',
        body({"kind": "Deployment"}),
        body({"kind": "Pod"}),
        body({"kind": "Pod", "metadata": {}, "spec": {"containers": []}}),
        body({"kind": "Pod", "metadata": {}, "spec": {"containers": ["x"]}}),
        body(POD, uid=None),
    ],
)
def test_junk_is_told_so(junk: bytes) -> None:
    with pytest.raises(ReviewError):
        review(junk, AttachSettings())


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("extproc", "extproc"),
        ("extproc:latest", "extproc"),
        ("r.example:5000/a/extproc:1@sha256:00", "r.example:5000/a/extproc"),
        ("r.example:5000/extproc", "r.example:5000/extproc"),
    ],
)
def test_repository(image: str, name: str) -> None:
    assert repository(image) == name
