"""attach: the pair beside an app, in manifests of every style; detach gives back every byte."""

from __future__ import annotations

import json

import pytest
import yaml

from extproc.attachment.manifests import Manifests
from extproc.attachment.settings import AttachError, AttachSettings
from extproc.attachment.sidecar import attached_containers
from extproc.attachment.yaml_text import YamlTextError

BLOCK = """\
# the shop
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop   # a comment
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels:
        app: shop
    spec:
      # containers
      containers:
      - name: shop
        image: shop:1
        ports:
        - containerPort: 8080
          name: web
        readinessProbe:
          httpGet: {path: /, port: web}   # follows
        lifecycle:
          preStop:
            httpGet:
              port: "web"
              path: /bye

      # the end
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector:
    app: shop
  ports:
  - port: 80
    targetPort: web
"""

FLOW = """\
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: shop}, spec: {template: {metadata: {labels: {app: shop}},
 spec: {containers: [{name: shop, image: shop, ports: [{containerPort: 8080}]}], volumes: []}}}}
"""

JSON = json.dumps(
    {
        "kind": "List",
        "apiVersion": "v1",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "s"},
                "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]},
            },
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Rollout",
                "metadata": {"name": "r"},
                "spec": {
                    "template": {
                        "metadata": {"labels": {"a": "b"}, "annotations": {}},
                        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 3000}]}]},
                    }
                },
            },
        ],
    },
    indent=2,
)

FULL = """\
---
kind: Deployment
apiVersion: apps/v1
metadata:
    name: full
spec:
    template:
        metadata:
            annotations:
                note: |
                    two
                    lines

            labels:
                app: full
                extproc.dev/inject: "true"
        spec:
            initContainers:
                - name: migrate
                  image: m
                  command:
                  - sh
                  - -c
                  - |
                    echo 1

                    echo 2
            volumes:
            containers:
                - image: "x"
                  name: app
                  ports:
                      -   containerPort: 9000
                          name: http-admin
                      -   {name: http, containerPort: 3000, protocol: TCP}
                - name: other
"""

POD = """\
apiVersion: v1
kind: Pod
metadata:
  generateName: one-
  labels: {app: one}
spec:
  containers:
  - {name: a, ports: [{containerPort: 80, protocol: UDP}, {containerPort: 81}]}
"""

NUMERIC = BLOCK.replace("targetPort: web", "targetPort: 8080")
IMPLICIT = BLOCK.replace("  - port: 80\n    targetPort: web\n", "  - port: 8080\n")
NO_FINAL_BREAK = BLOCK.removesuffix("\n")
CRLF_FREE_LIST = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
    "- " + document.replace("\n", "\n  ").rstrip(" ") for document in BLOCK.replace("# the shop\n", "").split("---\n")
)

STYLES = {
    "block, named port": (BLOCK, AttachSettings()),
    "flow": (FLOW, AttachSettings()),
    "json list": (JSON, AttachSettings()),
    "yaml list": (CRLF_FREE_LIST, AttachSettings()),
    "everything there already": (FULL, AttachSettings(mode="block")),
    "pod": (POD, AttachSettings()),
    "numeric target, by name": (NUMERIC, AttachSettings(target_port="name")),
    "numeric target, by number": (NUMERIC, AttachSettings(target_port="number", listen_port=15080)),
    "numeric target, kept": (NUMERIC, AttachSettings(target_port="keep")),
    "no targetPort at all": (IMPLICIT, AttachSettings(target_port="name")),
    "no line break at the end": (NO_FINAL_BREAK, AttachSettings()),
    "another name for Envoy's port": (BLOCK, AttachSettings(port_name="waf")),
    "a policy, plain containers": (BLOCK, AttachSettings(policy="shop-waf", is_legacy=True)),
    "own images": (BLOCK, AttachSettings(image="r.example/e@sha256:00", envoy_image="r.example/v:1")),
}


def attached(text: str, settings: AttachSettings, **more: object) -> str:
    return Manifests(["in"], [text]).attach(settings, **more).texts[0]  # type: ignore[arg-type]


def _running(pod: dict) -> list[dict]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def workload(text: str) -> dict:
    objects = [one for one in yaml.safe_load_all(text) if one]
    objects = [item for one in objects for item in (one["items"] if one["kind"] == "List" else [one])]
    return next(one for one in objects if one["kind"] not in ("Service", "NetworkPolicy"))


def pod_of(text: str) -> dict:
    found = workload(text)
    return found if found["kind"] == "Pod" else found["spec"]["template"]


@pytest.mark.parametrize(("text", "settings"), STYLES.values(), ids=STYLES)
def test_detach_gives_back_every_byte(text: str, settings: AttachSettings) -> None:
    after = attached(text, settings)
    assert after != text
    assert Manifests(["in"], [after]).detach().texts == [text]


@pytest.mark.parametrize(("text", "settings"), STYLES.values(), ids=STYLES)
def test_the_pod_has_the_pair_and_all_it_had(text: str, settings: AttachSettings) -> None:
    before, after = pod_of(text), pod_of(attached(text, settings))
    assert attached_containers(after) == {"extproc-engine", "extproc-envoy"}
    kind = "containers" if settings.is_legacy else "initContainers"
    pair = [one for one in after["spec"][kind] if one["name"].startswith("extproc-")]
    assert [one["name"] for one in pair] == ["extproc-engine", "extproc-envoy"]
    assert {"name": "EXTPROC_MODE", "value": settings.mode or "monitor"} in pair[0]["env"]
    assert all(("restartPolicy" in one) is not settings.is_legacy for one in pair)
    mounted = {mount["name"] for one in pair for mount in one["volumeMounts"]}
    assert mounted == {one["name"] for one in after["spec"]["volumes"] if one["name"].startswith("extproc-")}
    assert after["metadata"]["labels"]["extproc.dev/inject"] == "true"
    for name, value in before["metadata"]["labels"].items():
        assert after["metadata"]["labels"][name] == value
    names = [port.get("name") for one in _running(after) for port in one.get("ports") or []]
    assert len([name for name in names if name]) == len({name for name in names if name})


def test_services_lead_to_envoy_whatever_they_said() -> None:
    def target(text: str, **settings: object) -> object:
        documents = list(yaml.safe_load_all(attached(text, AttachSettings(**settings))))  # type: ignore[arg-type]
        return documents[1]["spec"]["ports"][0].get("targetPort")

    assert target(BLOCK) == "web"
    assert target(BLOCK, port_name="waf") == "waf"
    assert target(NUMERIC, target_port="name") == "web"
    assert target(NUMERIC, target_port="number") == 8000
    assert target(NUMERIC, target_port="keep") == 8080
    assert target(IMPLICIT, target_port="name") == "web"


def test_probes_follow_the_renamed_port() -> None:
    app = pod_of(attached(BLOCK, AttachSettings()))["spec"]["containers"][0]
    assert app["ports"] == [{"containerPort": 8080, "name": "app-web"}]
    assert app["readinessProbe"]["httpGet"]["port"] == "app-web"
    assert app["lifecycle"]["preStop"]["httpGet"]["port"] == "app-web"


def test_only_what_was_added_differs() -> None:
    before, after = BLOCK.splitlines(), attached(BLOCK, AttachSettings()).splitlines()
    gone = [line for line in before if line not in after]
    assert gone == [
        "          name: web",
        "          httpGet: {path: /, port: web}   # follows",
        '              port: "web"',
    ]


def test_the_network_policy_comes_and_goes() -> None:
    after = attached(BLOCK, AttachSettings(), closes_app_port=True)
    policy = list(yaml.safe_load_all(after))[2]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app": "shop", "extproc.dev/inject": "true"}
    assert [port["port"] for port in policy["spec"]["ingress"][0]["ports"]] == [8000, 9090]
    assert Manifests(["in"], [after]).detach().texts == [BLOCK]


def test_annotations_stand_for_flags_and_a_flag_wins() -> None:
    text = BLOCK.replace(
        "      labels:\n        app: shop\n",
        "      labels:\n        app: shop\n      annotations:\n        extproc.dev/mode: block\n"
        '        extproc.dev/listen-port: "15080"\n        extproc.dev/policy: shop-waf\n',
    )
    pair = pod_of(attached(text, AttachSettings()))["spec"]["initContainers"]
    assert pair[0]["env"] == [{"name": "EXTPROC_MODE", "value": "block"}]
    assert "--listen=0.0.0.0:15080" in pair[0]["args"]
    assert pair[1]["ports"] == [{"name": "web", "containerPort": 15080}]
    assert "--policy=/etc/extproc/policy/policy.yaml" in pair[0]["args"]
    assert pod_of(attached(text, AttachSettings(mode="off")))["spec"]["initContainers"][0]["env"][0]["value"] == "off"


TWO_PORTS = BLOCK.replace("          name: web\n", "        - containerPort: 8081\n").replace("port: web", "port: 8080")
WITHOUT_PORTS = POD.replace(", ports: [{containerPort: 80, protocol: UDP}, {containerPort: 81}]", "")

REFUSED = {
    "several ports": (TWO_PORTS, {}, "--app-port"),
    "no port declared": (WITHOUT_PORTS, {}, "--app-port"),
    "an unknown port": (BLOCK, {"app_port": "admin"}, "is not declared"),
    "an impossible port": (BLOCK, {"app_port": "70000"}, "is no TCP port"),
    "an unknown container": (BLOCK, {"container": "cart"}, "the pod's containers are shop"),
    "numeric targetPort": (NUMERIC, {}, "--target-port"),
    "targetPort left out": (IMPLICIT, {}, "--target-port"),
    "headless": (
        NUMERIC.replace("  selector:\n", "  clusterIP: None\n  selector:\n"),
        {"target_port": "name"},
        "headless",
    ),
    "hostNetwork": (BLOCK.replace("      # containers", "      hostNetwork: true"), {}, "--accept-host-network"),
    "Envoy's port is the app's": (BLOCK.replace("8080", "8000"), {}, "--listen-port"),
    "Envoy's port is the health port": (BLOCK, {"listen_port": 9003}, "--listen-port 9003"),
    "the app has the gRPC port": (BLOCK.replace("8080", "9002"), {}, "the engine's gRPC needs it"),
    "a volume of ours": (
        FULL.replace("            volumes:\n", "            volumes: [{name: extproc-tmp, emptyDir: {}}]\n"),
        {},
        "a volume called extproc-tmp",
    ),
    "a port name of Envoy's": (
        TWO_PORTS.replace("8081", "8081\n          name: http"),
        {"app_port": "8080"},
        "--port-name",
    ),
    "asked to stay out": (FULL.replace('inject: "true"', 'inject: "false"'), {}, "wants no pair"),
    "a wrong annotation": (FULL.replace("note: |", "extproc.dev/mode: blok\n                note: |"), {}, "blok"),
    "an annotation that names no object": (
        FULL.replace("note: |", "extproc.dev/policy: Waf_Policy\n                note: |"),
        {},
        "extproc.dev/policy",
    ),
    "a policy that no ConfigMap can be called": (BLOCK, {"policy": "a" * 254}, "--policy"),
    "a port's name with a blank": (BLOCK, {"port_name": "bad name"}, "--port-name"),
    "a port's name of 16": (BLOCK, {"port_name": "a" * 16}, "--port-name"),
    "a port's name of digits": (BLOCK, {"port_name": "80"}, "--port-name"),
    "no image": (BLOCK, {"image": ""}, "--image"),
    "an image with a blank": (BLOCK, {"envoy_image": "envoy: 1"}, "--envoy-image"),
    "no workload": ("kind: Service\nmetadata: {name: x}\n", {}, "the input holds none of Deployment"),
    "two workloads": (f"{BLOCK}---\n{FULL}", {}, "--workload"),
    "no pod template": ("kind: Deployment\nmetadata: {name: x}\n", {}, "no pod template"),
}


@pytest.mark.parametrize(("text", "settings", "said"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_a_guess_is_refused_with_the_flag_that_decides(text: str, settings: dict, said: str) -> None:
    with pytest.raises(AttachError) as caught:
        attached(text, AttachSettings(**settings))
    assert said in str(caught.value)


def test_names_at_their_longest_are_taken() -> None:
    names = {"policy": "a" * 253, "port_name": "a" * 15, "image": "registry.example:5000/waf@sha256:00"}
    text = attached(BLOCK, AttachSettings(**names))
    assert all(f"name: {names[one]}" in text for one in ("policy", "port_name"))


def test_attached_already() -> None:
    with pytest.raises(AttachError, match="extproc detach"):
        attached(attached(BLOCK, AttachSettings()), AttachSettings())


def test_detach_refuses_what_attach_did_not_do() -> None:
    with pytest.raises(AttachError, match="no annotation"):
        Manifests(["in"], [BLOCK]).detach()
    broken = attached(BLOCK, AttachSettings()).replace("attached: '{", "attached: '{{")
    with pytest.raises(AttachError, match="not as it was written"):
        Manifests(["in"], [broken]).detach()


def test_one_of_two_workloads() -> None:
    text = f"{BLOCK}---\n{FULL.removeprefix('---')}"
    after = Manifests(["in"], [text]).attach(AttachSettings(), "Deployment/full").texts[0]
    assert after.startswith(BLOCK)
    assert Manifests(["in"], [after]).detach().texts == [text]


ALIAS = BLOCK.replace("{matchLabels: {app: shop}}", "{matchLabels: &l {app: shop}}").replace(
    "      labels:\n        app: shop\n", "      labels: *l\n"
)


@pytest.mark.parametrize(
    ("text", "said"), [(ALIAS, "alias"), ("a: [1\nb: 2", "in: document 1 is not valid YAML"), ("a: b: c", "line 1")]
)
def test_text_that_cannot_be_changed_in_place(text: str, said: str) -> None:
    with pytest.raises(YamlTextError, match=said):
        attached(text, AttachSettings())


ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: web}
spec: {}
"""


def test_istio_gets_the_engine_alone_and_a_filter_for_its_pods() -> None:
    after = attached(BLOCK, AttachSettings(to="istio", mode="block"))
    pod = pod_of(after)
    assert attached_containers(pod) == {"extproc-engine"}
    assert pod["spec"]["containers"] == pod_of(BLOCK)["spec"]["containers"]
    (engine,) = pod["spec"]["initContainers"]
    assert all("exec" in engine[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
    filters = [one for one in yaml.safe_load_all(after) if one["kind"] == "EnvoyFilter"]
    selector = filters[0]["spec"]["workloadSelector"]["labels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    assert Manifests(["in"], [after]).detach().texts == [BLOCK]


def test_a_gateway_asks_an_engine_of_its_own() -> None:
    after = attached(ROUTE, AttachSettings(to="envoy-gateway", mode="block"))
    objects = {one["kind"]: one for one in yaml.safe_load_all(after)}
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"web"}
    policy = objects["EnvoyExtensionPolicy"]["spec"]
    assert policy["targetRefs"][0]["name"] == "shop"
    (asked,) = policy["extProc"]
    assert (asked["failOpen"], asked["processingMode"]["request"]["body"]) == (False, "Buffered")
    assert asked["backendRefs"] == [{"name": objects["Service"]["metadata"]["name"], "port": 9002}]
    engine = objects["Deployment"]["spec"]["template"]
    assert objects["Service"]["spec"]["selector"].items() <= engine["metadata"]["labels"].items()
    assert "--grpc=0.0.0.0:9002" in engine["spec"]["containers"][0]["args"]
    assert Manifests(["in"], [after]).detach().texts == [ROUTE]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{kind: Deployment, metadata: 5}", "metadata must hold"),
        ("{kind: Pod, metadata: {name: a, annotations: [x]}, spec: {containers: []}}", "annotations must hold"),
        ("{kind: Pod, metadata: {name: a}, spec: {containers: [5]}}", "containers must be a list"),
        ("{kind: Pod, metadata: {name: a}, spec: {containers: [{name: b, ports: 5}]}}", "ports must be a list"),
        ("{kind: Pod, metadata: {name: a}, spec: {containers: [{name: b}], volumes: 3}}", "volumes must be a list"),
        ("{kind: Service, metadata: {name: a}, spec: {selector: [x]}}", "selector must hold"),
        ("{kind: List, items: [{kind: Pod, metadata: 5}]}", "metadata must hold"),
        ("{kind: List, items: [5]}", "items must be a list"),
    ],
)
def test_what_kubernetes_would_not_read_is_told_by_its_key(text: str, said: str) -> None:
    with pytest.raises(AttachError, match=f"in: document [0-9]: {said}"):
        Manifests(["in"], [f"{BLOCK}---\n{text}\n"])


def test_labels_may_be_called_as_keys_are() -> None:
    text = BLOCK.replace("      labels:\n", "      labels:\n        template: blue\n        spec: x\n", 1)
    assert text != BLOCK
    assert "extproc-engine" in attached(text, AttachSettings())


def test_a_gateway_refuses_names_as_well() -> None:
    with pytest.raises(AttachError, match="--policy"):
        Manifests(["in"], [ROUTE]).attach(AttachSettings(to="envoy-gateway", policy="Waf Policy"))


def test_a_gateway_needs_a_route() -> None:
    with pytest.raises(AttachError, match="HTTPRoute"):
        attached(BLOCK, AttachSettings(to="envoy-gateway"))
