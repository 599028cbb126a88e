"""Small networks with random weights, saved as their libraries save them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import yaml

from models.torchvision_ops import declare_missing_operators

WORDS = "the loom stopped twice before noon and cloth shows it a good film terrible service"
TEXTS = ("A good film.", "the", "Terrible service! " * 20, "cloth and noon <pad> it", "loom")
POSITIONS = 40

SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
ENCODER = {**SHAPE, "intermediate_size": 96, "max_position_embeddings": POSITIONS}
ONNX_IMAGE = {
    "modality": "image",
    "input": "pixels",
    "layout": "NCHW",
    "output": "features",
    "resize": 40,
    "crop": 32,
    "interpolation": "bilinear",
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.3, 0.4],
}
"""What is said of `onnx_image_network`."""


def small_network() -> Any:
    import torch

    from models.networks import Block, CutNetwork

    class Stem(torch.nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return given * 2

    class Pool(torch.nn.Module):
        def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            return states + 1

    torch.manual_seed(1)
    return CutNetwork(Stem(), [Block({"linear": torch.nn.Linear(3, 2)})], Pool(), cut=None).eval()


def save_torchvision_network(model: str, path: Path, **settings: int) -> Any:
    """Make a network with random weights, save it as the library does, and return it."""
    declare_missing_operators()
    import torch
    import torchvision

    torch.manual_seed(7)
    quick = {"init_weights": False} if model.startswith(("vgg", "googlenet")) else {}
    published = {"aux_logits": True, "transform_input": True} if model == "googlenet" else {}
    network = torchvision.models.get_model(model, weights=None, **quick, **published, **settings)
    torch.save(network.state_dict(), path)
    return network.eval()


def timm_library() -> Any:
    declare_missing_operators()
    import timm

    return timm


def save_timm_network(model: str, path: Path, **options: Any) -> Any:
    """Make a network with random weights, save its tensors and return it."""
    import safetensors.torch
    import torch

    torch.manual_seed(7)
    network = timm_library().create_model(model, **options).eval()
    safetensors.torch.save_file(network.state_dict(), path)
    return network


def transformers() -> Any:
    declare_missing_operators()
    import transformers

    return transformers


def word_pieces(folder: Path, kind: str) -> Any:
    """A tokenizer of whole words and letters."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.!<>", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = dict.fromkeys([*specials, *WORDS.split(), *letters])
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = getattr(transformers(), kind)(vocab=vocabulary, model_max_length=POSITIONS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def byte_pairs(folder: Path, kind: str) -> Any:
    """A tokenizer learned from a few words, in the old form: vocab.json and merges.txt."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    trained.train_from_iterator([WORDS] * 3, vocab_size=300, special_tokens=specials)
    trained.save_model(str(folder))
    settings = {"model_max_length": POSITIONS, "tokenizer_class": kind}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return getattr(transformers(), kind).from_pretrained(folder)


def save_text_network(family: str, folder: Path) -> tuple[Any, Any]:
    """Make a network with random weights and a tokenizer, and save both as the library does."""
    import torch

    folder.mkdir(exist_ok=True)
    torch.manual_seed(7)
    hf = transformers()
    vocab = {"vocab_size": 300}
    if family == "bert":
        network = hf.BertModel(hf.BertConfig(**ENCODER, **vocab))
        tokenizer = word_pieces(folder, "BertTokenizer")
    elif family == "distilbert":
        config = hf.DistilBertConfig(
            dim=64, n_layers=3, n_heads=4, hidden_dim=96, max_position_embeddings=POSITIONS, **vocab
        )
        network, tokenizer = hf.DistilBertModel(config), word_pieces(folder, "DistilBertTokenizer")
    elif family == "gpt2":
        config = hf.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=POSITIONS, **vocab)
        network, tokenizer = hf.GPT2Model(config), byte_pairs(folder, "GPT2Tokenizer")
    else:
        positions = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
        kind = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[family]
        config = getattr(hf, f"{kind}Config")(**{**ENCODER, **positions}, **vocab)
        network = getattr(hf, f"{kind}Model")(config)
        tokenizer = byte_pairs(folder, "RobertaTokenizer")
    for parameter in network.parameters():  # fresh layers hardly tell tokens apart
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return network.eval(), tokenizer


def save_image_network(family: str, folder: Path) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(7)
    hf = transformers()
    if family == "vit":
        network = hf.ViTModel(hf.ViTConfig(**SHAPE, intermediate_size=96, image_size=64))
        processor = hf.ViTImageProcessorPil(size={"height": 64, "width": 64})
    else:  # at another size than it was made for: positions are interpolated
        config = hf.Dinov2Config(**SHAPE, mlp_ratio=2, image_size=56, patch_size=14)
        network = hf.Dinov2Model(config)
        processor = hf.BitImageProcessorPil(
            size={"shortest_edge": 80}, crop_size={"height": 70, "width": 70}
        )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network.eval(), processor


def describe_onnx(folder: Path, said: dict[str, Any], **changes: Any) -> None:
    merged = {key: value for key, value in {**said, **changes}.items() if value is not None}
    (folder / "net.yaml").write_text(yaml.safe_dump(merged))


def onnx_image_network() -> Any:
    import torch

    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.Tanh(), torch.nn.Conv2d(8, 6, 3)
    ).eval()


def export_onnx(network: Any, path: Path, example: dict[str, Any], outputs: list[str]) -> None:
    import torch

    free = torch.export.Dim.DYNAMIC
    axes = {name: {0: free} | ({1: free} if x.ndim == 2 else {}) for name, x in example.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=outputs,
            dynamic_shapes=tuple(axes.values()),
            opset_version=20,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
