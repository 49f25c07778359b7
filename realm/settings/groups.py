"""Settings in groups: each field with its meaning, its default and its bounds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from realm.retrieval import Retrieval


class Group(BaseModel):
    """A field's environment variable is `REALM_`, the group's prefix and the field, in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, prefix: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.prefix = prefix

    @classmethod
    def flat_name(cls, field: str) -> str:
        """`gate_probes` for the field `probes` of the group `gate`."""
        return f"{cls.prefix}{field}"


class Addresses(Group):
    """Where things are."""

    store_url: str = Field(".realm/store", description="folder, file:// or s3:// URL of the store")
    store_cache: str = Field(
        "", description="folder for copies of remote files; empty: a temporary folder"
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis: queue, lease, wake-ups")
    qdrant_url: str = Field(
        "http://127.0.0.1:6334",
        description="Qdrant's gRPC endpoint; of several peers each, separated by commas: where"
        " one does not answer, the next is asked",
    )
    qdrant_api_key: str = Field("", description="Qdrant's API key, if it needs one")
    indexer_url: str = Field("127.0.0.1:50052", description="gRPC target of the leading indexer")
    gateway_address: str = Field(
        "127.0.0.1:50051", description="gateway that clients call: host:port, or https://host"
    )
    gateway_listen: str = Field("127.0.0.1:50051", description="address the gateway listens on")
    indexer_listen: str = Field("127.0.0.1:50052", description="address the indexer listens on")
    indexer_advertise: str = Field(
        "",
        description="address at which gateways reach this indexer when it leads: host or"
        " host:port; empty: REALM_INDEXER_URL",
    )
    health_listen: str = Field(
        "",
        description="address that answers health checks alone, in plaintext, of a gateway or an"
        " indexer: for probes that speak no TLS; empty: none",
    )
    metrics_listen: str = Field("127.0.0.1", description="address that /metrics listens on")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0: none")


class Process(Group):
    """What every process has."""

    log_format: Literal["json", "text"] = Field("json", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="log level")
    trace_folder: str = Field(
        "", description="folder for traces as JSON lines; empty: only what OTEL_* asks for"
    )
    threads: int = Field(1, ge=1, description="compute threads of the process")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    heartbeat_file: str = Field(
        "", description="file touched between batches, for liveness probes; empty: none"
    )


class Corpus(Group):
    """Documents and writes."""

    max_document_bytes: int = Field(8 << 20, ge=1, description="longest document text, in bytes")
    write_group_seconds: float = Field(
        0.02, ge=0, description="how long the leader gathers writes into one commit"
    )
    write_memory_bytes: int = Field(
        128 << 20,
        ge=1,
        description="memory for writes being received or written in a gateway or an indexer, at"
        " least one of 16 MB; further ones wait",
    )
    erase_within_seconds: float = Field(
        86_400, gt=0, description="time after which deleted documents are physically gone"
    )
    filter_keys: str = Field(
        "",
        description="metadata keys, separated by commas, that every new index has ready for"
        " filters; those that documents bring first are indexed by themselves",
    )


class Model(Group):
    """What a new model is made of, and the lengths that it reads."""

    base_model: str = Field(
        "",
        description="model that training begins with: a base's folder or hub name, or a folder"
        " that realm wrote; empty: the packaged MiniLM",
    )
    reader_model: str = Field(
        "",
        description="extractive QA checkpoint (BERT, start and end logits) to read with, by"
        " folder or hub name; empty: the base itself",
    )
    cross_encoder: str = Field(
        "",
        description="cross-encoder that a new model re-ranks with (sequence classification, one"
        " output or two), by folder or hub name; empty: its reader re-ranks",
    )
    passage_scores: bool = Field(
        False,
        description="give a new model's reader a head that scores passages, learns with it and"
        " re-ranks them",
    )
    starter: bool = Field(
        True, description="begin with the packaged reader if it belongs to the base"
    )
    pooling: Literal["", "mean", "cls", "last", "pooler"] = Field(
        "", description="how a base's token vectors become one; empty: what the base says, else cls"
    )
    projection: int = Field(
        0,
        ge=0,
        description="size of the projection with LayerNorm of a new model (REALM: 128); 0: the"
        " base's own, or none",
    )
    scale: float = Field(
        0.0,
        ge=0,
        description="s of f(x, z) that a base begins with: one over the temperature that it was"
        " trained at; 0: 20 for normalised vectors, else 1, and what a packaged base brings",
    )
    vector_size: int = Field(
        0,
        ge=0,
        description="how many of a vector's first numbers are kept, for a base trained so"
        " (Matryoshka); 0: all",
    )
    query_prompt: str = Field(
        "", description="what stands before each question for the encoder; empty: as the base says"
    )
    passage_prompt: str = Field(
        "", description="what stands before each passage for the encoder; empty: as the base says"
    )
    towers: Literal["", "shared", "two"] = Field(
        "",
        description="one encoder for questions and passages, or two; empty: what the model has;"
        " a new one shares",
    )
    marginal: Literal["", "sequence", "token"] = Field(
        "",
        description="masked LM: the product over masked word pieces inside the sum over passages"
        " (the paper) or outside it (Google's code); empty: what the model says, else sequence",
    )
    passage_tokens: int = Field(288, ge=96, description="longest passage input, in word pieces")
    query_tokens: int = Field(96, ge=8, description="longest query input, in word pieces")
    reader_tokens: int = Field(384, ge=32, description="longest reader input, in word pieces")
    candidates: int = Field(8, ge=2, description="k, including the null document")

    @model_validator(mode="after")
    def _leave_room_for_the_passage(self) -> Self:
        if self.reader_tokens < self.query_tokens + 32:
            raise ValueError("REALM_READER_TOKENS must exceed REALM_QUERY_TOKENS by 32")
        return self


class Embedder(Group):
    """The embedders and their queue."""

    embed_token_budget: int = Field(
        0, ge=0, description="padded tokens per batch; 0: what suits the device"
    )
    max_deliveries: int = Field(
        3, ge=1, description="embedders that may die of a shard before it is quarantined"
    )
    work_silence_seconds: float = Field(
        30, gt=0, description="an embedder silent for this long counts as dead"
    )
    embedder_queues: str = Field("realm.delta,realm.embed", description="queues to serve, in order")
    visibility_seconds: int = Field(
        600, ge=10, description="time after which Redis redelivers a task"
    )


class Indexer(Group):
    """The indexer: how it leads, builds and retires."""

    lease_seconds: float = Field(
        5.0, gt=0, description="silence of the leader after which a standby leads"
    )
    shard_seconds: float = Field(
        10, gt=0, description="target duration of a unit of embedding work"
    )
    reconcile_seconds: float = Field(
        1.0,
        gt=0,
        description="longest pause between two reconciliations; five times as long at rest, while"
        " wake-ups arrive",
    )
    request_again_seconds: float = Field(
        10, gt=0, description="how often to check that a missing result is still requested"
    )
    words_first: bool = Field(
        True,
        description="where nothing is live yet, answer by words until there are vectors; false: do"
        " not answer",
    )
    verify_seconds: float = Field(
        2.0,
        gt=0,
        description="pause between two comparisons of live's points with its files; at least 20"
        " times as long as one takes",
    )
    upsert_points: int = Field(256, ge=1, description="points per upsert to Qdrant")
    refresh_target_seconds: float = Field(
        1800, gt=0, description="how long a refresh may take before alerts tell of it"
    )
    retirement_seconds: float = Field(900, ge=0, description="how long to keep retired collections")
    gateway_ttl_seconds: float = Field(
        15, gt=0, description="silence after which a gateway no longer counts"
    )


class Gate(Group, prefix="gate_"):
    """What a candidate must pass before it goes live."""

    sample: int = Field(200, ge=1, description="vectors to compare")
    probes: int = Field(400, ge=0, description="probe questions; 0: none")
    readings: int = Field(
        200, ge=0, description="probe questions of known answers that readers answer; 0: none"
    )
    min_recall: float = Field(
        0.98, ge=0, le=1, description="required recall@10 against exact search"
    )
    tolerance: float = Field(0.02, ge=0, description="allowed drop in probe recall@5 or F1")
    significance: float = Field(0.05, gt=0, le=1, description="significance level of a drop")
    shadow: int = Field(
        0,
        ge=0,
        description="recent searches of users that a candidate and live are both asked before it"
        " goes live, to report how far they agree; 0: none, and gateways report none",
    )
    latency_factor: float = Field(
        2.0,
        ge=0,
        description="allowed search time relative to live, beyond 10 ms; 0: not compared",
    )
    optimise_seconds: float = Field(
        3600, ge=0, description="how long a candidate waits for Qdrant's optimisation"
    )
    memory: int = Field(5, ge=0, description="accepted generations whose best is compared with too")
    probes_file: str = Field(
        "",
        description=".jsonl of question, document_id and perhaps answers to probe with; empty: made"
        " from documents",
    )


class Recording(Group, prefix="record_"):
    """Which of the users' questions are kept."""

    questions: bool = Field(
        False, description="keep some of the users' questions in the store, as probes for the gate"
    )
    most: int = Field(2_000, ge=1, description="number of recorded questions to keep")
    seconds: float = Field(
        86_400,
        gt=0,
        description="how long to keep a recorded question; never beyond REALM_ERASE_WITHIN_SECONDS",
    )
    probability: float = Field(
        0.5, ge=0, le=1, description="record only questions answered with at least this probability"
    )


class Gateway(Group):
    """The gateways: batches, limits, pauses."""

    retrieval: Retrieval = Field(
        Retrieval.HYBRID, description="how to rank passages when a request does not say"
    )
    encode_batch_tokens: int = Field(
        0, ge=0, description="most tokens encoded in one batch; 0: what suits the device"
    )
    read_batch_tokens: int = Field(
        0, ge=0, description="most tokens read in one batch; 0: what suits the device"
    )
    search_queue_seconds: float = Field(
        0.28,
        gt=0,
        description="seconds of searching ahead of a question beyond which it is refused",
    )
    read_queue_seconds: float = Field(
        5.0, gt=0, description="seconds of reading ahead of a question beyond which it is refused"
    )
    max_waiting: int = Field(
        1024, ge=1, description="most questions that wait for a corpus version to be applied"
    )
    max_streams: int = Field(
        64, ge=1, description="most streams at once, of each: questions, imports, watches"
    )
    answer_cache_bytes: int = Field(
        0,
        ge=0,
        description="memory for answers that may be given again while nothing is written or"
        " swapped; 0: none, since each write empties it: worth it where questions repeat between"
        " writes",
    )
    compute_stall_seconds: float = Field(
        60,
        gt=0,
        description="unready when models finish nothing for this long while questions wait",
    )
    live_poll_seconds: float = Field(
        0.5,
        gt=0,
        description="longest pause between two reads of live/; five times as long at rest, while"
        " wake-ups arrive",
    )
    leader_wait_seconds: float = Field(
        20.0, ge=0, description="how long a write waits for a leader"
    )
    report_seconds: float = Field(3.0, gt=0, description="pause between two reports to the indexer")
    drain_seconds: float = Field(10, ge=0, description="time for requests to finish at shutdown")
