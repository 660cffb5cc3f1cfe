"""What people write who know other programs: where its setting is here, or why there is none; and near misses of a key.

One table, looked up by the last part of the key, so that `lr`, `optim.lr` and `train.lr` lead to the same place.
"""

import difflib
from collections.abc import Iterable, Mapping

_ELSEWHERE: Mapping[str, str] = {
    "lr learning_rate peak_lr max_lr": "write recipe.lr=0.006, or tune it: sweep.tune.recipe.lr=1e-3..3e-2:6",
    "size sizes model_size num_params n_params params parameters": "write sweep.sizes=[10k,40k], each a model's N",
    "budgets token_budget token_budgets": "write sweep.budgets=[128k,512k], training tokens",
    "width d_model n_embd hidden_size embed_dim emb_dim dim hidden_dim": (
        "write 'sweep.sizes=[{width: 64, depth: 2}]', or sweep.sizes=[10k,40k], from which widths follow"
    ),
    "depth n_layer n_layers num_layers layers num_hidden_layers": (
        "write recipe.depth=2, the layers of every size that is given by its N, or 'sweep.sizes=[{width: 64, depth: 2}]'"
    ),
    "heads n_head n_heads num_heads num_attention_heads": (
        "write recipe.head_dim=16, the width of a head: a model has width / head_dim of them"
    ),
    "d_ff ffn_dim intermediate_size mlp_ratio": "write model.ffn_ratio=4, the hidden width as a multiple of the model's",
    "seed seeds random_seed": "write sweep.seeds=[0,1], each a replicate of the grid",
    "name run_name experiment": "write sweep.name=NAME, or dir=PLACE for the directory",
    "batch_size batch bs global_batch_size per_device_train_batch_size": (
        "write recipe.batch_tokens=512, tokens a step: sequences times model.context; train.micro_batch splits them"
    ),
    "steps max_steps num_steps train_steps iters max_iters iterations": (
        "write sweep.budgets=[128k,512k], training tokens: steps are tokens / recipe.batch_tokens"
    ),
    "tokens num_tokens train_tokens max_train_tokens": "write sweep.budgets=[128k,512k], training tokens",
    "epochs num_epochs num_train_epochs max_epochs": (
        "a run is as long as its budget: write sweep.budgets=[128k,512k], training tokens; data.unique_tokens=64k lets a run "
        "repeat a part of the text"
    ),
    "dropout p_drop dropout_rate attention_dropout": (
        "there is none, as every model is trained without dropout, that of transformers too"
    ),
    "compile torch_compile": "write train.compile=auto, true or false",
    "tied tie_weights tie_embeddings tie_word_embeddings weight_tying": (
        "the decoder's head is its own; of model=hf write model.config.tie_word_embeddings=true"
    ),
    "device cuda cpu gpu accelerator": "write train.device=auto, cpu or cuda",
    "gpus num_gpus n_gpus ngpu devices": (
        "every GPU of a machine has a worker: write launcher.workers=2 for fewer, or launcher.gpus=2 of a cluster"
    ),
    "workers num_workers jobs n_jobs": "write launcher.workers=2",
    "wandb use_wandb tensorboard trackio tracker report_to": "write logger=wandb, tensorboard, trackio or none",
    "precision dtype mixed_precision amp fp16 bf16": "write train.precision=auto, float32 or bfloat16",
    "context context_length ctx seq_len seq_length max_seq_len sequence_length block_size n_ctx n_positions "
    "max_position_embeddings": "write model.context=128",
    "vocab_size vocab n_vocab": "write data.tokenizer.vocab_size=1024, of data.tokenizer.kind=bpe",
    "tokenizer": "write data.tokenizer.kind=bytes, bpe, hub, sentencepiece or tiktoken",
    "path paths file files data_path data_dir data_file data_files dataset_path train_file": (
        "write data=files \"data.paths=['texts/*.txt']\""
    ),
    "dataset dataset_name corpus hf_dataset": "write data=python, data=files, or data=hub data.name=NAME",
    "weight_decay wd": "write optim.weight_decay=0.1",
    "warmup warmup_steps warmup_iters num_warmup_steps": "write recipe.warmup_steps=50",
    "warmup_ratio warmup_fraction": "write recipe.warmup_fraction=0.1",
    "optimizer opt": "write optim=adamw, muon or custom",
    "scheduler lr_schedule lr_scheduler lr_scheduler_type decay": "write train.schedule=wsd or cosine",
    "grad_clip clip clip_grad max_grad_norm gradient_clip_val": "write optim.grad_clip=1",
    "grad_accum grad_accumulation accumulate_grad_batches gradient_accumulation_steps micro_batch_size": (
        "write train.micro_batch=8, sequences a forward pass: the gradient is accumulated over the batch"
    ),
    "eval_interval eval_iters eval_steps val_interval": (
        "a cell is evaluated at its end: write train.validation_tokens=64k for how long a text"
    ),
    "log_interval logging_steps": "write train.curve_points=20, points of the loss curve in each decade of steps",
    "out outdir out_dir output output_dir save_dir logdir log_dir run_dir workdir directory": "write dir=PLACE",
    "resume restart": "the same command with the same dir goes on from where it stopped",
    "config preset": "write sweep=demo, or another preset (scalesweep run --help)",
}
_WORDS: Mapping[str, str] = {word: text for words, text in _ELSEWHERE.items() for word in words.split()}
VALUES: Mapping[str, str] = {
    "gpu": "cuda",
    "cuda:0": "cuda",
    "mps": "cpu",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp16": "bfloat16",
    "float16": "bfloat16",
    "half": "bfloat16",
    "grid": "full",
    "chinchilla": "isoflop",
    "warmup_stable_decay": "wsd",
    "byte": "bytes",
    "chars": "bytes",
}
"""What people write for a value -> the value that stands for it here."""
_OPTIONS: Mapping[tuple[str, str], str] = {
    ("model", "transformer"): "model=decoder",
    ("model", "gpt"): "model=decoder, or model=hf model.architecture=GPT2",
    ("model", "gpt2"): "model=hf model.architecture=GPT2",
    ("model", "llama"): "model=hf model.architecture=Llama",
    ("model", "qwen3"): "model=hf model.architecture=Qwen3",
    ("model", "mamba"): "model=hf model.architecture=Mamba",
    ("optim", "adam"): "optim=adamw",
    ("logger", "false"): "logger=none",
    ("logger", "null"): "logger=none",
    ("launcher", "cpu"): "launcher=local train.device=cpu",
    ("launcher", "gpu"): "launcher=local train.device=cuda",
}


def usual(name: str) -> str:
    """Where a setting of this name is, as a clause; empty where nobody usually writes it."""
    return _WORDS.get(name.lower().replace("-", "_"), "")


def where_instead(key: str, keys: Iterable[str]) -> str:
    """Where the setting that somebody looks for is, as a clause after "KEY is not a setting".

    Args:
        key: what was written, dotted.
        keys: all settings there are, dotted, tables on the way too.

    Returns:
        ": write recipe.lr=..." of a usual guess, " (did you mean recipe.depth?)" of a near miss, or nothing.
    """
    section, _, last = key.rpartition(".")
    if "." not in section and (text := usual(last)):  # a table within a group has its own names
        return f": {text}"
    return did_you_mean_key(key, keys)


def did_you_mean_key(key: str, keys: Iterable[str]) -> str:
    """`near_keys` as a clause that can follow a sentence; empty where there is none."""
    near = near_keys(key, keys)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def near_keys(key: str, keys: Iterable[str]) -> list[str]:
    """The full names of at most three settings that are like a wrong one: of its own group where some are, else of any."""
    section, _, last = key.rpartition(".")
    names: dict[str, list[str]] = {}
    for name in sorted(keys):
        names.setdefault(name.rpartition(".")[2], []).append(name)
    like = [last] if last in names else difflib.get_close_matches(last, names, n=1, cutoff=0.6)
    found = [name for word in like for name in names[word]]
    within = [name for name in found if section and name.startswith(f"{section}.")]
    return (within or found)[:3]


def option_instead(group: str, option: str) -> str:
    """What to write in place of an option of a group that there is not, as a clause; empty where nothing is known."""
    if text := _OPTIONS.get((group, option.lower())):
        return f" (write {text})"
    if group == "data" and ("/" in option or "." in option):
        return f" (a text of your own: write data=files \"data.paths=['{option}']\")"
    return ""


def value_instead(value: str, allowed: Iterable[str]) -> str:
    """The allowed value that a usual word stands for, or near misses, as a clause; empty where there is none."""
    known = list(allowed)
    near = [VALUES[value.lower()]] if VALUES.get(value.lower()) in known else difflib.get_close_matches(value, known)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
