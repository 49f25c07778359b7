"""Scopes by reflection: no method of the protos is forgotten."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from realm.access.methods import Needs, needs_of
from realm.access.principal import ANYBODY, Principal
from realm.errors import Forbidden
from realm.filters import where
from realm.records.keys import Scope
from tests.unit.access.calls import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_scope(method: str) -> None:
    needs = needs_of(method)
    assert needs is not None
    assert needs.scope in {*Scope, "serve"}


def test_what_changes_something_needs_more_than_ask() -> None:
    asks = {method.rpartition("/")[2] for method in METHODS if _scope(method) == "ask"}
    changing = ("Upsert", "Delete", "Import", "Refresh", "Roll", "Pause", "Report", "Cancel")
    assert asks
    assert not [name for name in asks if name.startswith(changing)]


def test_a_method_without_a_scope_is_nobody_s() -> None:
    """As one that somebody adds and forgets to think about."""
    file = descriptor_pb2.FileDescriptorProto(name="forgotten.proto", package="forgotten")
    file.message_type.add(name="Empty")
    method = file.service.add(name="Service").method.add(name="Do")
    method.input_type = method.output_type = ".forgotten.Empty"
    descriptor_pool.Default().Add(file)
    for name in ("/forgotten.Service/Do", "/realm.v1.AnswerService/Unheard"):
        needs = needs_of(name)
        assert needs == Needs(None)
        with pytest.raises(Forbidden):
            ANYBODY.check(needs, name)


def test_health_is_open_and_reflection_for_whoever_is_known() -> None:
    assert needs_of("/grpc.health.v1.Health/Check") is None
    needs = needs_of("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert needs is not None
    Principal("one", frozenset({"ask"})).check(needs, "reflection")


def test_a_scope_gives_nothing_beyond_itself() -> None:
    for scope in Scope:
        principal = Principal("one", frozenset({str(scope)}))
        for method in METHODS:
            needs = needs_of(method)
            assert needs is not None
            if needs.scope == scope:
                principal.check(needs, method)
            else:
                with pytest.raises(Forbidden):
                    principal.check(needs, method)


def test_whoever_sees_a_part_calls_no_method_that_does_not_keep_to_it() -> None:
    tenant = Principal("one", frozenset(map(str, Scope)), filter=where("tenant=a"))
    with pytest.raises(Forbidden):
        tenant.check(Needs("ask", filtered=False), "/any")
    tenant.check(Needs("ask", filtered=True), "/any")


def test_a_method_that_keeps_to_a_key_s_filter_reads_or_writes_documents() -> None:
    for method in METHODS:
        needs = needs_of(method)
        assert needs is not None
        assert needs.filtered == (needs.scope in ("ask", "write"))


def _scope(method: str) -> str | None:
    needs = needs_of(method)
    return needs.scope if needs else ""
