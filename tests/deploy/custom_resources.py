"""Schemas of the custom resources, of the fields that realm uses.

Written by hand from the operators' documentation: no machine without a network has their CRDs.
A field that is not named here is a fault, so that a new one is looked up first.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "minimum": 0}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=_object("name", name=TEXT, namespace=TEXT, labels=TEXTS),
        spec=spec,
    )


_EXPRESSION = _object(
    "key operator",
    key=TEXT,
    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
    values=_list(TEXT),
)
_SELECTOR = _object(matchLabels=TEXTS, matchExpressions=_list(_EXPRESSION))
_POLICY = _object(
    "type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=COUNT, periodSeconds=COUNT
)
_SCALING = _object(stabilizationWindowSeconds=COUNT, policies=_list(_POLICY))
_RULE = {
    **_object(
        "expr",
        record=TEXT,
        alert=TEXT,
        expr=TEXT,
        labels=TEXTS,
        annotations=TEXTS,
        **{"for": {"type": "string", "pattern": r"^\d+[smh]$"}},
    ),
    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
}

_HOURS = {"type": "string", "pattern": r"^\d+h$"}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Certificate": _resource(
        "cert-manager.io/v1",
        "Certificate",
        _object(
            "secretName issuerRef",
            secretName=TEXT,
            issuerRef=_object("name", name=TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}),
            isCA={"type": "boolean"},
            commonName=TEXT,
            dnsNames=_list(TEXT),
            duration=_HOURS,
            usages=_list({"enum": ["digital signature", "server auth", "client auth"]}),
            privateKey=_object(
                algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
                size=COUNT,
                rotationPolicy={"enum": ["Never", "Always"]},
            ),
        ),
    ),
    "GRPCRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "GRPCRoute",
        _object(
            "parentRefs rules",
            parentRefs=_list(_object("name", name=TEXT, namespace=TEXT, sectionName=TEXT)),
            hostnames=_list(TEXT),
            rules=_list(
                _object(
                    "matches backendRefs",
                    matches=_list(
                        _object("method", method=_object("service", service=TEXT, method=TEXT))
                    ),
                    backendRefs=_list(_object("name port", name=TEXT, port=COUNT)),
                )
            ),
        ),
    ),
    "Issuer": {
        **_resource(
            "cert-manager.io/v1",
            "Issuer",
            _object(selfSigned=_object(), ca=_object("secretName", secretName=TEXT)),
        ),
    },
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(
            "selector podMetricsEndpoints",
            jobLabel=TEXT,
            selector=_SELECTOR,
            podMetricsEndpoints=_list(
                _object(
                    "port",
                    port=TEXT,
                    interval={"type": "string", "pattern": r"^\d+s$"},
                    authorization=_object(
                        type=TEXT, credentials=_object("name key", name=TEXT, key=TEXT)
                    ),
                )
            ),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object("groups", groups=_list(_object("name rules", name=TEXT, rules=_list(_RULE)))),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            "scaleTargetRef triggers",
            scaleTargetRef=_object("name", name=TEXT, kind=TEXT, apiVersion=TEXT),
            minReplicaCount=COUNT,
            maxReplicaCount=COUNT,
            pollingInterval=COUNT,
            cooldownPeriod=COUNT,
            fallback=_object("failureThreshold replicas", failureThreshold=COUNT, replicas=COUNT),
            advanced=_object(
                horizontalPodAutoscalerConfig=_object(
                    behavior=_object(scaleDown=_SCALING, scaleUp=_SCALING)
                )
            ),
            triggers=_list(
                _object(
                    "type metadata",
                    type={"const": "prometheus"},
                    metadata=_object(
                        "serverAddress query threshold",
                        serverAddress=TEXT,
                        query=TEXT,
                        threshold={"type": "string", "pattern": r"^\d+$"},
                        activationThreshold={"type": "string", "pattern": r"^\d+$"},
                    ),
                )
            ),
        ),
    ),
}
