"""What people use for a grid of small models today, as baselines of bench_sweep.py: one model after another, from scratch.

nanogpt: a plain loop after nanoGPT's published recipe (GPT-2 blocks without biases, tied head, learned positions, random
windows of a memory-mapped file, AdamW fused, clipping, cosine to a tenth, compiled on CUDA). trainer: Hugging Face's Trainer on
GPT2LMHeadModel with the same optimizer and schedule. Both take widths, depths, batches, steps and tokens of a plan's cells.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LR = 3e-3
"""Peak learning rate of both baselines at every size; not tuned further."""
WARMUP = 0.05
LOG_EVERY = 10
EVALUATION_BATCH = 64


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attn, self.attn_out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after attention and feed-forward."""
        B, T, D = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.attn(self.ln_1(x)).split(D, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_out(y.transpose(1, 2).reshape(B, T, D))
        out: Tensor = x + self.down(F.gelu(self.up(self.ln_2(x))))
        return out


class GPT(nn.Module):
    """GPT-2 with a tied head."""

    def __init__(self, cell: Mapping[str, int]) -> None:
        super().__init__()
        width, depth = cell["width"], cell["depth"]
        self.tokens, self.positions = nn.Embedding(cell["vocab"], width), nn.Embedding(cell["context"], width)
        self.blocks = nn.ModuleList(Block(width, cell["heads"]) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, cell["vocab"], bias=False)
        self.head.weight = self.tokens.weight
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(
                    p, std=0.02 / math.sqrt(2 * depth) if name.endswith(("attn_out.weight", "down.weight")) else 0.02
                )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean loss in nats per token."""
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        return F.cross_entropy(self.head(self.norm(h)).flatten(0, 1).float(), y.flatten())


def nanogpt(cells: Sequence[Mapping[str, int]], files: Mapping[str, str], device: str) -> list[dict[str, float]]:
    """Train every cell and evaluate it; seconds in training, and the loss."""
    results = []
    for cell in cells:
        torch.manual_seed(cell["seed"])
        plain = GPT(cell).to(device)
        model: Any = torch.compile(plain) if device == "cuda" else plain  # on CPU it is no faster (docs/performance.md)
        matrices = [p for p in plain.parameters() if p.dim() == 2]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": 0.1},
            {"params": [p for p in plain.parameters() if p.dim() < 2]},
        ]
        optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        started = time.monotonic()
        for step in range(cell["steps"]):
            for group in optimizer.param_groups:
                group["lr"] = LR * cosine(step, cell["steps"])
            x, y = random_windows(files, cell, device)
            with autocast(device):
                loss = model(x, y)
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % LOG_EVERY == 0 and not math.isfinite(loss.item()):
                break
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
        results.append({"seconds": seconds, "loss": evaluate(plain, files, cell, device)})
    return results


def random_windows(files: Mapping[str, str], cell: Mapping[str, int], device: str) -> tuple[Tensor, Tensor]:
    """As nanoGPT's get_batch: the file is mapped anew, which its author found not to leak."""
    data, T = np.memmap(files["train"], dtype=files["dtype"], mode="r"), cell["context"]
    starts = torch.randint(len(data) - T, (cell["batch"],))
    x = torch.stack([torch.from_numpy(data[i : i + T].astype(np.int64)) for i in starts])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + T].astype(np.int64)) for i in starts])
    if device == "cuda":
        return x.pin_memory().to(device, non_blocking=True), y.pin_memory().to(device, non_blocking=True)
    return x, y


def cosine(step: int, steps: int) -> float:
    """Linear warm-up, then cosine to a tenth."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def autocast(device: str) -> Any:
    """bfloat16 on CUDA."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda")


@torch.no_grad()
def evaluate(
    model: Callable[[Tensor, Tensor], Tensor], files: Mapping[str, str], cell: Mapping[str, int], device: str
) -> float:
    """Mean loss on the windows on which scalesweep evaluates."""
    windows: Any = torch.from_numpy(np.load(files["validation"]))
    losses = []
    for part in windows.split(EVALUATION_BATCH):
        part = part.to(device)
        with autocast(device):
            losses.append(model(part[:, :-1], part[:, 1:]).item() * len(part))
    return sum(losses) / len(windows)


def trainer(cells: Sequence[Mapping[str, int]], files: Mapping[str, str], device: str) -> list[dict[str, float]]:
    """The same by Hugging Face's Trainer."""
    import tempfile

    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

    results = []
    data = np.memmap(files["train"], dtype=files["dtype"], mode="r")
    for cell in cells:
        set_seed(cell["seed"])
        T = cell["context"]
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        sizes = {"n_embd": cell["width"], "n_layer": cell["depth"], "n_head": cell["heads"], "n_positions": T}
        drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "activation_function": "gelu"}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=cell["vocab"], **sizes, **drop, **ends))
        with tempfile.TemporaryDirectory() as place:
            arguments = TrainingArguments(
                output_dir=place,
                max_steps=cell["steps"],
                per_device_train_batch_size=cell["batch"],
                per_device_eval_batch_size=EVALUATION_BATCH,
                learning_rate=LR,
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr_rate": 0.1},
                warmup_steps=max(1, round(WARMUP * cell["steps"])),
                weight_decay=0.1,
                adam_beta2=0.95,
                max_grad_norm=1.0,
                optim="adamw_torch_fused",
                bf16=device == "cuda",
                torch_compile=device == "cuda",
                use_cpu=device == "cpu",
                logging_steps=LOG_EVERY,
                disable_tqdm=True,
                save_strategy="no",
                report_to="none",
            )
            ours = Trainer(model, arguments, train_dataset=Windows(data, T), eval_dataset=Rows(np.load(files["validation"])))
            started = time.monotonic()
            ours.train()
            seconds = time.monotonic() - started
            results.append({"seconds": seconds, "loss": ours.evaluate()["eval_loss"]})
    return results


class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Windows of T + 1 tokens at stride T, which the Trainer shuffles."""

    def __init__(self, data: Any, context: int) -> None:
        self.data, self.context = data, context

    def __len__(self) -> int:
        return (len(self.data) - 1) // self.context

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return item(self.data[i * self.context : i * self.context + self.context].astype(np.int64))


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The windows of the evaluation."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return item(self.rows[i][:-1])


def item(tokens: Any) -> dict[str, Tensor]:
    """Inputs that are their own labels; the model shifts them, so that a window of T tokens has T - 1 targets."""
    return {"input_ids": (row := torch.from_numpy(tokens)), "labels": row}


if __name__ == "__main__":
    name, path = sys.argv[1:]
    work = json.loads(Path(path).read_text())
    run = {"nanogpt": nanogpt, "trainer": trainer}[name]
    print("RESULTS " + json.dumps(run(work["cells"], work["files"], work["device"])))
