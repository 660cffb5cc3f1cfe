"""`scalesweep model`: a trained cell as a directory for transformers."""

import sys
from pathlib import Path

from scalesweep.cli.command import Command, Given, Option
from scalesweep.errors import EXIT_OK
from scalesweep.run.store.store import Store
from scalesweep.sweep.export import export_cell

TO = Option[Path | None]("to", Path, None, "A new or empty directory (default: DIR/models/KEY).", "PLACE")


def model(given: Given) -> int:
    """Save a cell's trained model and the tokenizer of its corpus."""
    directory, key = Path(given.words[0]), given.words[1]
    to = (given[TO] or directory / "models" / key).expanduser()
    has_tokenizer = export_cell(Store(directory), key, to, lambda line: print(line, file=sys.stderr, flush=True))
    with_it = "with its tokenizer" if has_tokenizer else "without a tokenizer, as its tokens came without one"
    print(f"{to}: {key}, {with_it}; transformers.AutoModelForCausalLM.from_pretrained({str(to)!r}) opens it.")
    return EXIT_OK


COMMANDS = (
    Command(
        "model",
        about="Save the trained model of a cell, with its tokenizer, for transformers (needs train.keep_weights=true).",
        usage="DIR KEY [to=PLACE]",
        run=model,
        examples=(
            "scalesweep run sweep=smoke train.keep_weights=true",
            "scalesweep model runs/smoke 0123456789ab",
            "scalesweep model runs/smoke 0123456789ab to=my_model",
        ),
        options=(TO,),
        takes="a directory and the key of a cell",
        num_words=2,
    ),
)
