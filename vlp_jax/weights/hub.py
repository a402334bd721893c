"""Models on Hugging Face's hub: "hf:ORG/NAME" is fetched into its cache by huggingface_hub."""

import re
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import shortened

_FORMS = "hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME/FILE"
_ADDRESS = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>.+))?")
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".json", ".txt")

# All that is taken of a repository: nothing that could be run, and pickled weights only where there
# are no others; those are read without running anything in them.
_PLAIN = ("config.json", "answers.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
_SAFE = ("model*.safetensors", "model*.safetensors.index.json")
_PICKLED = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")

_REASONS = {  # the special before the general
    "GatedRepoError": "its owners ask to accept their terms on its page, and then `hf auth login`",
    "RepositoryNotFoundError": "the hub has no such model, or it is private",
    "RevisionNotFoundError": "it has no such revision",
    "RemoteEntryNotFoundError": "it has no such file",
    "LocalEntryNotFoundError": "the hub cannot be reached, and not all of it is in the cache",
}
"""Class of the client's error -> what it means."""


def fetched(path: Any) -> Any:
    """Returns a path as it is given; for an address on the hub the place of what was fetched.

    That is a folder with config, weights and tokenizer, or the one file that the address names.
    Files that are in the cache (`HF_HOME`) are not fetched again.

    Raises:
      ValueError: an address of another form, or huggingface_hub is not installed.
      FileNotFoundError: no such model, revision or file, or no connection.
    """
    if not isinstance(path, str) or not path.startswith("hf:"):
        return path
    parts = _ADDRESS.fullmatch(path)
    file = parts and parts["file"]
    if not parts or (file and not file.endswith(_ENDINGS)):
        ending = f" that ends in {', '.join(_ENDINGS)}" if file else ""
        raise ValueError(f'"{shortened(path)}" is no model on the hub: expected {_FORMS}{ending}')
    hub = _client(path)
    try:
        options = dict(repo_id=parts["repo"], revision=parts["revision"])
        return Path(
            hub.hf_hub_download(filename=file, **options) if file else _folder(hub, options)
        )
    except Exception as error:  # of classes that differ from one release of the client to the next
        raise FileNotFoundError(f'"{path}" cannot be fetched: {_reason(error)}') from None


def _client(path: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError(
            f'"{path}" needs the package "huggingface_hub": pip install "vlp_jax[hf]"'
        ) from None
    return huggingface_hub


def _folder(hub: Any, options: dict[str, Any]) -> str:
    folder = hub.snapshot_download(**options, allow_patterns=[*_PLAIN, *_SAFE])
    if not any(Path(folder).glob(_SAFE[0])):
        hub.snapshot_download(**options, allow_patterns=list(_PICKLED))
    return folder


def _reason(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    known = (reason for kind, reason in _REASONS.items() if kind in kinds)
    return next(known, f"{type(error).__name__}: {shortened(str(error)).partition(chr(10))[0]}")
