"""The one settings object: frozen, from the environment (`REALM_*`) and a TOML file.

Built only at entry points and handed down. `realm settings` prints every field with its
meaning, default and where the value in force came from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from realm.errors import BadSettings


class Settings(BaseSettings):
    """Every knob of every service. Environment beats the file named by `REALM_SETTINGS_FILE`."""

    model_config = SettingsConfigDict(env_prefix="REALM_", frozen=True, extra="forbid")

    # Where things are
    store_url: str = Field(".realm/store", description="folder, file:// or s3:// URL of the store")
    store_cache: str = Field(
        "", description="folder for copies of remote files; empty: a temporary"
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis: queue, lease, nudges")
    qdrant_url: str = Field("http://127.0.0.1:6334", description="Qdrant's gRPC endpoint")
    qdrant_api_key: str = Field("", description="Qdrant's API key, if it wants one")
    indexer_url: str = Field("127.0.0.1:50052", description="gRPC target of the leading indexer")
    gateway_address: str = Field("127.0.0.1:50051", description="gRPC target that clients call")
    gateway_listen: str = Field("127.0.0.1:50051", description="address the gateway listens on")
    indexer_listen: str = Field("127.0.0.1:50052", description="address the indexer listens on")
    metrics_listen: str = Field("127.0.0.1", description="address that /metrics listens on")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0: none")

    # Every process
    log_format: Literal["json", "text"] = Field("json", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="log level")
    threads: int = Field(1, ge=1, description="the process's budget of compute threads")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    # Corpus
    max_document_bytes: int = Field(8 << 20, ge=1, description="longest document text, in bytes")
    write_group_seconds: float = Field(
        0.02, ge=0, description="how long the leader gathers writes into one commit"
    )

    # Model
    base_model: str = Field("", description="folder or hub name; empty: the packaged MiniLM")
    starter: bool = Field(
        True, description="begin with the shipped reader, where it belongs to the base"
    )
    passage_tokens: int = Field(288, ge=96, description="longest passage input, in word pieces")
    query_tokens: int = Field(96, ge=8, description="longest query input, in word pieces")
    reader_tokens: int = Field(384, ge=32, description="longest reader input, in word pieces")
    candidates: int = Field(8, ge=2, description="k, the null document included")

    # Trainer
    train: bool = Field(True, description="learn; false: publish the base model and idle")
    seed: int = Field(0, description="seed of everything random in training")
    snapshot_every_steps: int = Field(40, ge=1, description="steps between two snapshots")
    snapshot_min_seconds: float = Field(60, ge=0, description="least time between two snapshots")
    checkpoint_every_steps: int = Field(40, ge=1, description="steps between two checkpoints")
    max_steps: int = Field(0, ge=0, description="stop training there; 0: never")
    max_index_lag_steps: int = Field(
        0, ge=0, description="wait for the index beyond this; 0: never"
    )
    inverse_cloze_batch: int = Field(16, ge=2, description="passages in an inverse cloze step")
    masked_lm_batch: int = Field(2, ge=1, description="sentences in a masked-LM step")
    masked_lm_share: float = Field(
        0.25, ge=0, le=1, description="share of steps that are masked LM"
    )
    retriever_learning_rate: float = Field(2e-5, gt=0, description="AdamW's rate for the retriever")
    reader_learning_rate: float = Field(
        1e-5, gt=0, description="AdamW's rate for the reader: low, lest it forget how to answer"
    )
    masked_lm_head_learning_rate: float = Field(
        1e-4, gt=0, description="AdamW's rate for the reader's masked-LM head"
    )
    warmup_steps: int = Field(50, ge=0, description="steps until the full learning rate")
    trainable_layers: int = Field(2, ge=0, description="top layers that learn; those below rest")
    train_passage_tokens: int = Field(
        128, ge=16, description="longest passage input in training steps, in word pieces"
    )
    trivial_removal_share: float = Field(
        0.9, ge=0, le=1, description="inverse cloze: share of passages that lose their sentence"
    )

    # Embedder
    embed_token_budget: int = Field(
        0, ge=0, description="padded tokens in a batch; 0: what suits the device"
    )
    max_deliveries: int = Field(
        3, ge=1, description="a shard that was started so often without an end is quarantined"
    )
    embedder_queues: str = Field("realm.delta,realm.embed", description="queues served, in order")
    heartbeat_file: str = Field("", description="touched between batches, for liveness probes")
    visibility_seconds: int = Field(600, ge=10, description="Redis redelivers a task after this")

    # Indexer
    shard_seconds: float = Field(10, gt=0, description="wished length of a unit of embedding work")
    reconcile_seconds: float = Field(1.0, gt=0, description="longest pause between two looks")
    request_again_seconds: float = Field(120, gt=0, description="ask again for a missing result")
    upsert_points: int = Field(256, ge=1, description="points in one upsert to Qdrant")
    gate_sample: int = Field(200, ge=1, description="vectors that the gate compares")
    gate_probes: int = Field(400, ge=0, description="probe questions of the gate; 0: none")
    gate_min_recall: float = Field(0.98, ge=0, le=1, description="recall@10 against exact search")
    gate_tolerance: float = Field(0.02, ge=0, description="how far probe recall@5 may fall")
    retirement_seconds: float = Field(900, ge=0, description="a retired collection lives so long")
    gateway_ttl_seconds: float = Field(15, gt=0, description="a silent gateway counts so long")

    # Gateway
    serve_batch: int = Field(32, ge=1, description="most questions encoded at once")
    read_batch: int = Field(16, ge=1, description="most (question, passage) pairs read at once")
    batch_wait_seconds: float = Field(0.002, ge=0, description="how long a batch waits to fill")
    max_inflight: int = Field(256, ge=1, description="requests taken before RESOURCE_EXHAUSTED")
    live_poll_seconds: float = Field(0.5, gt=0, description="longest pause between looks at live/")
    report_seconds: float = Field(3.0, gt=0, description="pause between reports to the indexer")
    drain_seconds: float = Field(10, ge=0, description="how long requests may end at shutdown")

    @model_validator(mode="after")
    def _leave_room_for_the_passage(self) -> Self:
        if self.reader_tokens < self.query_tokens + 32:
            raise ValueError("REALM_READER_TOKENS must exceed REALM_QUERY_TOKENS by 32")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get("REALM_SETTINGS_FILE")
        if not file:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(file))


#: Read by other parts of the program than the settings object.
OTHER_VARIABLES = {"REALM_SETTINGS_FILE", "REALM_HF_FIXTURE"}


def load_settings(**given: object) -> Settings:
    """Settings from arguments, then environment, then file.

    :raises BadSettings: naming each field that is unknown or unusable.
    """
    file = os.environ.get("REALM_SETTINGS_FILE")
    if file and not Path(file).is_file():
        raise BadSettings(f"REALM_SETTINGS_FILE names {file}, which is not a file")
    known = {f"REALM_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = [
        name
        for name in os.environ
        if name.startswith("REALM_") and name not in known and not name.startswith("REALM_TEST_")
    ]
    if unknown:
        raise BadSettings(
            f"unknown settings in the environment: {', '.join(sorted(unknown))};"
            " `realm settings` lists those there are"
        )
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"REALM_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise BadSettings(f"unusable settings: {faults}") from error
