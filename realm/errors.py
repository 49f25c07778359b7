"""Every error that realm raises on purpose.

Each says what happened, to which thing, and what to do. `code` is the name of the gRPC status
that a client sees; the one mapping, both ways, is `realm.client.wire`
(servers: `realm.process.rpc`).
Nothing below this module may import anything of realm.
"""

from __future__ import annotations


class RealmError(Exception):
    """Base of all domain errors.

    `details` are short key–value pairs for machines (field, file, line, version, …); they
    travel as `google.rpc.ErrorInfo.metadata`.
    """

    code = "INTERNAL"
    reason = "INTERNAL"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = {key: str(value) for key, value in details.items()}


class InvalidInput(RealmError):
    """The caller gave something unusable: an empty question, a line that is not JSON, k = 0."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_INPUT"


class NotFound(RealmError):
    """A named document, generation, snapshot or file does not exist."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class NotReady(RealmError):
    """The service runs, but cannot do this yet (no live generation, version not yet applied)."""

    code = "UNAVAILABLE"
    reason = "NOT_READY"


class DependencyUnavailable(RealmError):
    """Redis, Qdrant, the store or the indexer cannot be reached."""

    code = "UNAVAILABLE"
    reason = "DEPENDENCY_UNAVAILABLE"


class Unreachable(DependencyUnavailable):
    """Nobody answers where a call went. Of this side alone: whoever asked us hears that a
    dependency is unavailable."""


class OutOfSpace(DependencyUnavailable):
    """Qdrant refuses writes for want of space. Whoever asked us hears that a dependency is
    unavailable."""


class Unauthenticated(RealmError):
    """Nobody knows who calls: there is no key or token, or one that does not count (any more)."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class Forbidden(RealmError):
    """Who calls is known, and may not do this."""

    code = "PERMISSION_DENIED"
    reason = "FORBIDDEN"


class Conflict(RealmError):
    """Somebody else wrote first: a conditional put or a corpus commit was refused."""

    code = "ABORTED"
    reason = "CONFLICT"


class RequestIdReused(RealmError):
    """A request id that names another write: of another method or with another content."""

    code = "ALREADY_EXISTS"
    reason = "REQUEST_ID_REUSED"


class FailedPrecondition(RealmError):
    """The system's state forbids this (roll back without a retained generation)."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class Overloaded(RealmError):
    """More work than the service will queue; try again later."""

    code = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"


class DeadlinePassed(RealmError):
    """The caller's deadline ended before the work did."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_PASSED"


class Unsupported(RealmError):
    """A request that this deployment does not cover."""

    code = "UNIMPLEMENTED"
    reason = "UNSUPPORTED"


class Corrupt(RealmError):
    """Bytes whose checksum, shape or format is wrong: a file, a snapshot, a vector shard."""

    code = "DATA_LOSS"
    reason = "CORRUPT"


class DamagedCorpus(RealmError):
    """A file of the corpus table is missing or altered. It is the only copy: nobody can make it
    again, as what is `Corrupt` is made again, or done without."""

    code = "DATA_LOSS"
    reason = "DAMAGED_CORPUS"


class BadSettings(RealmError):
    """A setting is missing, unknown or unusable; raised at start only."""

    code = "FAILED_PRECONDITION"
    reason = "BAD_SETTINGS"


class Diverged(RealmError):
    """Training left the finite numbers: a loss or a gradient is NaN or infinite."""

    reason = "DIVERGED"
