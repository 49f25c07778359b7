"""Settings of training: what is published and when, and how parameters learn."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from realm.settings.groups import Group


class Trainer(Group):
    """The trainer: what it publishes and when, and when it waits or stops."""

    train: bool = Field(True, description="train; false: publish the base model and idle")
    seed: int = Field(0, description="seed of all randomness in training")
    snapshot_every_steps: int = Field(40, ge=1, description="steps between two snapshots")
    snapshot_min_seconds: float = Field(60, ge=0, description="minimum time between two snapshots")
    checkpoint_every_steps: int = Field(40, ge=1, description="steps between two checkpoints")
    max_steps: int = Field(0, ge=0, description="step at which training ends; 0: never")
    max_index_lag_steps: int = Field(
        0, ge=0, description="wait for the index when it lags further; 0: never wait"
    )
    train_after_index: bool = Field(
        False,
        description="train only once an index with vectors is live: where embedders share the"
        " trainer's processors",
    )
    retrieval_encoder: Literal["index", "fresh"] = Field(
        "index",
        description="query encoder for searches in training: the index's own, or the newest",
    )
    evaluate_every_steps: int = Field(
        0, ge=0, description="steps between two evaluations of held-out retrieval; 0: never"
    )
    patience: int = Field(
        0, ge=0, description="evaluations without improvement before training stops; 0: never"
    )
    divergence_retries: int = Field(
        3, ge=0, description="returns to the last checkpoint, each at half the learning rate"
    )
    tensorboard_dir: str = Field("", description="folder for TensorBoard event files; empty: none")

    @model_validator(mode="after")
    def _evaluate_before_stopping(self) -> Self:
        if self.patience and not self.evaluate_every_steps:
            raise ValueError("REALM_PATIENCE needs REALM_EVALUATE_EVERY_STEPS: when to look")
        return self


class Optimizer(Group):
    """How parameters learn."""

    retriever_learning_rate: float = Field(2e-5, gt=0, description="AdamW's rate for the retriever")
    reader_learning_rate: float = Field(
        1e-5, gt=0, description="AdamW's rate for the reader; low, so that it keeps what it knows"
    )
    masked_lm_head_learning_rate: float = Field(
        1e-4, gt=0, description="AdamW's rate for the reader's masked-LM head"
    )
    scale_learning_rate: float = Field(
        1e-3, gt=0, description="AdamW's rate for the logarithm of the scale s of scores"
    )
    word_weight_learning_rate: float = Field(
        1e-3, ge=0, description="AdamW's rate for the weight w of BM25 in scores; 0: it stays"
    )
    warmup_steps: int = Field(50, ge=0, description="steps to the full learning rate")
    schedule: Literal["constant", "linear", "cosine", "slanted"] = Field(
        "constant",
        description="learning rate after the warm-up, until max_steps; slanted: ULMFiT's, with"
        " its own warm-up",
    )
    trainable_layers: int = Field(
        2,
        ge=0,
        description="number of top layers that train, the rest is frozen; more than there are:"
        " embeddings as well",
    )
    lora_rank: int = Field(
        0,
        ge=0,
        description="rank of the LoRA adapters that learn in place of the top layers' weights;"
        " 0: no adapters",
    )
    lora_alpha: float = Field(
        16.0, gt=0, description="what the adapters say counts lora_alpha / lora_rank times"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="a layer's rate relative to the layer above (ULMFiT: 0.385)"
    )
    unfreeze_every_steps: int = Field(
        0,
        ge=0,
        description="gradual unfreezing from the top, one layer per so many steps; 0: all at once",
    )
    auxiliary_lm_weight: float = Field(
        0.0, ge=0, description="SiATL: weight of a masked LM beside the reader's task; 0: none"
    )
    auxiliary_lm_half_life: int = Field(
        1000, ge=1, description="steps in which the weight of the auxiliary LM halves"
    )
    accumulate_steps: int = Field(
        1, ge=1, description="parts in which a batch is computed: less memory, same gradient"
    )
    recompute_activations: bool = Field(
        False, description="keep only the inputs of layers and recompute the rest: less memory"
    )
    train_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="number format of the backbones in training; auto: what is native"
    )
