"""What a model is, without its weights: the `config.json` of a snapshot.

Torch-free, so that the indexer can read it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from realm.errors import BadSettings, Corrupt
from realm.model.inputs import InputLimits, Prompts

Pooling = Literal["mean", "cls", "last", "pooler"]
ProjectionActivation = Literal["", "tanh", "relu", "gelu", "silu"]
Marginal = Literal["sequence", "token"]
SpanScores = Literal["mlp", "start_end"]

UNNORMALISED_SCALE = 1.0
# Cosines lie in [-1, 1]: without this factor the softmax over candidates is flat.
NORMALISED_SCALE = 20.0


@dataclass(frozen=True, slots=True)
class BertShape:
    """The backbone's hyper-parameters, by their names in a BERT `config.json`.

    `architecture` is the `config.json` of another kind of encoder, which transformers computes
    (`realm.model.transformer`); the rest then describes what realm has to know of it.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    architecture: str = ""

    def __post_init__(self) -> None:
        if self.type_vocab_size < 2:
            raise BadSettings("the base has one segment id: realm's inputs need two")
        if self.hidden_size % self.num_attention_heads:
            raise BadSettings(
                f"hidden size {self.hidden_size} is not a multiple of"
                f" {self.num_attention_heads} attention heads"
            )


@dataclass(frozen=True, slots=True)
class Projection:
    """The linear map after pooling: hidden size → `size` (REALM: 128, with LayerNorm).

    `activation` follows it where the base's Dense module has one.
    """

    size: int = 128
    layer_norm: bool = True
    identity_start: bool = False
    activation: ProjectionActivation = ""


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """How a reader's scores become probabilities; learnt with the reader, so kept beside it.

    `null`: the null document takes part with the empty answer, "no answer". `slope` and `offset`
    calibrate: p → σ(slope · logit p + offset) for the best answer (`realm.model.calibration`).
    `evidence` is the weight of what the reader finds in a passage where f(x, z) is re-ranked; 0: it
    was never fitted, and changes nothing.
    """

    null: bool = False
    slope: float = 1.0
    offset: float = 0.0
    evidence: float = 0.0

    def __post_init__(self) -> None:
        _require(math.isfinite(self.slope) and self.slope > 0, "answers.slope", self.slope)
        _require(math.isfinite(self.offset), "answers.offset", self.offset)
        valid = math.isfinite(self.evidence) and self.evidence >= 0
        _require(valid, "answers.evidence", self.evidence)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything needed to rebuild retriever and reader around stored weights.

    `candidates` is k, the places of the marginal sum; the null document takes one of them.
    `scripts` are those that the base was trained on, such as "LATIN CYRILLIC"; empty: any.
    `vector_size` keeps that many of a vector's first numbers (Matryoshka, Kusupati et al. 2022); 0:
    all of them.
    `scale_init` is s at step 0 in f(x, z) = s·⟨Embed(x), Embed(z)⟩.
    `reader_base` is the reader's shape where it is another than the retriever's; `span_scores`
    says how a span is scored: REALM's MLP, or start + end logit as in extractive QA. With
    `passage_scores` the reader scores passages too, by a head of its own, and they re-rank. With
    `coverage` words count as far as they cover the question (`realm.model.relevance`).
    """

    base: BertShape
    pooling: Pooling = "mean"
    normalize: bool = False
    projection: Projection | None = None
    shared_towers: bool = True
    lengths: InputLimits = field(default_factory=InputLimits)
    scale_init: float = UNNORMALISED_SCALE
    candidates: int = 8
    marginal: Marginal = "sequence"
    span_hidden_size: int = 256
    max_span_width: int = 10
    base_name: str = ""
    base_sha256: str = ""
    reader_base: BertShape | None = None
    span_scores: SpanScores = "mlp"
    answers: AnswerRules = field(default_factory=AnswerRules)
    prompts: Prompts = field(default_factory=Prompts)
    vector_size: int = 0
    scripts: str = ""
    passage_scores: bool = False
    coverage: bool = False

    def __post_init__(self) -> None:
        _require(self.pooling in get_args(Pooling), "pooling", self.pooling)
        _require(self.marginal in get_args(Marginal), "marginal", self.marginal)
        _require(self.span_scores in get_args(SpanScores), "span_scores", self.span_scores)
        _require(self.candidates >= 2, "candidates", self.candidates)
        _require(math.isfinite(self.scale_init) and self.scale_init > 0, "scale", self.scale_init)
        _require(self.max_span_width >= 1, "max_span_width", self.max_span_width)
        _require(self.span_hidden_size >= 1, "span_hidden_size", self.span_hidden_size)
        self._check_projection()
        self._check_lengths()
        _require(0 <= self.vector_size <= self.full_size, "vector_size", self.vector_size)

    @property
    def embedding_size(self) -> int:
        return self.vector_size or self.full_size

    @property
    def full_size(self) -> int:
        """Of a vector before it is cut to `vector_size`."""
        return self.base.hidden_size if self.projection is None else self.projection.size

    @property
    def reader_shape(self) -> BertShape:
        return self.base if self.reader_base is None else self.reader_base

    def to_json(self) -> str:
        """Canonical: equal configs give equal text."""
        return json.dumps(asdict(self), sort_keys=True, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelConfig:
        """The exact inverse of `to_json`.

        :raises Corrupt: if a key is unknown or missing, or a value is of another type.
        """
        try:
            config = _STORED.validate_json(text, strict=True, extra="forbid")
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise Corrupt(f"the model's config is unusable: {'; '.join(faults)}") from error
        except BadSettings as error:
            raise Corrupt(f"the model's config is unusable: {error}") from error
        if missing := sorted(_REQUIRED - json.loads(text).keys()):
            raise Corrupt(f"the model's config lacks keys: {', '.join(missing)}")
        return config

    def _check_projection(self) -> None:
        if self.projection is None:
            return
        _require(self.projection.size >= 1, "projection size", self.projection.size)
        if not self.projection.identity_start:
            return
        if self.projection.size != self.base.hidden_size or self.projection.layer_norm:
            raise BadSettings(
                f"a projection that starts as the identity has size {self.base.hidden_size} (the"
                f" hidden size) and no LayerNorm, not size {self.projection.size} and"
                f" layer_norm={self.projection.layer_norm}"
            )

    def _check_lengths(self) -> None:
        for name, length in asdict(self.lengths).items():
            shape = self.reader_shape if name == "reader" else self.base
            positions = shape.max_position_embeddings
            if not 1 <= length <= positions:
                raise BadSettings(
                    f"length {name}={length} does not fit the base's {positions} positions"
                )


def _require(condition: bool, name: str, value: object) -> None:
    if not condition:
        raise BadSettings(f"the model's {name} cannot be {value!r}")


#: Every field has to be stored, except these: the first stores' configs lack them.
ADDED_LATER = frozenset(
    (
        *("reader_base", "span_scores", "answers", "prompts", "vector_size", "scripts"),
        *("passage_scores", "coverage"),
    )
)
_STORED = TypeAdapter(ModelConfig)
_REQUIRED = {field.name for field in fields(ModelConfig)} - ADDED_LATER
