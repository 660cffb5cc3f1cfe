"""The texts of --help: written here, with the options of each config group read from its directory."""

from scalesweep.settings.compose import config_dir

_ABOUT = {
    "run": "Plan a sweep, train what is not yet measured, fit the law, write the report.",
    "plan": "Print the cells of a sweep with their price, by a short benchmark. Trains nothing; may cache the corpus.",
    "worker": "Join a sweep that another process has planned, from any machine that sees its directory.",
    "status": "Print how far a sweep is: workers, speed, time left, failures, cost; --watch goes on, --json is for programs.",
    "logs": "Print what is known of one cell: state, claim, traceback, its lines of the workers' logs.",
    "retry": "Let a failed cell, or all of them, be measured again.",
    "cancel": "Ask all workers of a sweep to write checkpoints and end; the same run goes on from there.",
    "export": "Write a sweep's points as CSV or Parquet, also in the columns that chinchilla and vpnls read.",
    "fit": "Fit a sweep's directory or a table of points; print laws, rivals, back-test and warnings, write the report.",
    "report": "The same, printing the laws only: report.html, report.md, fit.json, tables and figures.",
    "plot": "Draw one figure of a report, in the terminal or into a file.",
    "coverage": "Simulate how often the intervals of a design cover the truth, under several kinds of noise.",
    "tournament": "Fit rival laws to the same points and rank them by what they predict.",
    "forecast": "Predict a model that is not measured yet, with two intervals, and file it with date and hash.",
    "score": "Compare a filed forecast with what was measured since.",
    "next": "Propose the next cells to measure.",
    "check": "Check that the recipe carries over: activations and the best learning rate against width and depth.",
    "model": "Save the trained model of a cell, with its tokenizer, for transformers (needs train.keep_weights=true).",
    "train": "Train one cell; an ordinary Hydra application (--multirun, --cfg job, --help).",
    "data": "Prepare a corpus: read, split, tokenize, cache.",
}
_FIGURES = (
    "Figures: power_laws, curves, joint_fit, kaplan_form, isoflops, optima, residuals, profile, back_test, next_gain, tuning, "
    "collapse (docs/figures.md)."
)
USAGE = {
    "run": "scalesweep run [sweep=PRESET] [key=value ...]",
    "plan": "scalesweep plan [sweep=PRESET] [key=value ...]",
    "worker": "scalesweep worker DIR [--device auto|cpu|cuda|cuda:K] [--workers 1|N|auto]",
    "status": "scalesweep status DIR [--watch] [--json]",
    "logs": "scalesweep logs DIR CELL",
    "retry": "scalesweep retry DIR CELL|failed",
    "cancel": "scalesweep cancel DIR",
    "export": "scalesweep export DIR [out=points.csv|FILE.parquet] [layout=scalesweep|chinchilla|vpnls] [count.params=...]",
    "fit": "scalesweep fit DIR|POINTS|points=STUDY [fit.key=value ...] [dir=PLACE]",
    "report": "scalesweep report DIR|POINTS|points=STUDY [fit.key=value ...] [report.title=...] [dir=PLACE]",
    "plot": "scalesweep plot NAME DIR|POINTS|points=STUDY [out=FILE.svg|.pdf|.png] [theme=light|dark] [fit.key=value ...]",
    "coverage": "scalesweep coverage DIR|POINTS|points=STUDY [replicates=100] [fit.key=value ...]",
    "tournament": "scalesweep tournament DIR|POINTS|points=STUDY [fit.key=value ...]",
    "forecast": "scalesweep forecast DIR|POINTS at=[N,D]|compute=C [file=NAME.json] [fit.key=value ...]",
    "score": "scalesweep score FORECAST.json DIR|POINTS",
    "next": "scalesweep next DIR|POINTS budget=FLOPS target=FLOPS [method=ladder|v_optimal] [fit.key=value ...]",
    "check": "scalesweep check transfer [widths=[...]] [depths=[...]] [sizes=[WIDTHxDEPTH,...]] [lrs=[...]] [tokens=128k] "
    "[key=value ...]",
    "model": "scalesweep model DIR KEY [to=PLACE]",
    "data": "scalesweep data [data=SOURCE] [data.key=value ...]",
}
_GROUPS = {
    "run": ("sweep", "recipe", "model", "data", "optim", "train", "launcher", "logger", "fit", "report"),
    "plan": ("sweep", "recipe", "model", "data", "optim", "train", "launcher"),
    "worker": (),
    "status": (),
    "logs": (),
    "retry": (),
    "cancel": (),
    "export": (),
    "fit": ("fit", "report"),
    "report": ("fit", "report"),
    "plot": ("fit",),
    "coverage": ("fit",),
    "tournament": ("fit",),
    "forecast": ("fit",),
    "score": (),
    "next": ("fit",),
    "check": ("recipe", "model", "data", "optim", "train"),
    "model": (),
    "data": ("data",),
}
_EXAMPLES = {
    "run": (
        "scalesweep run",
        "scalesweep run data=enwik8 sweep.name=wiki 'sweep.sizes=[20k,60k,200k]' 'sweep.budgets=[128k,512k]'",
        "scalesweep run sweep.tune.recipe.lr=1e-3..3e-2:6",
        "scalesweep run 'sweep.seeds=[0,1]' recipe.lr=0.004 dir=runs/lr4",
    ),
    "plan": (
        "scalesweep plan",
        "scalesweep plan sweep=chinchilla_small",
        "scalesweep plan sweep.design=rays 'sweep.budgets=[5,20,80]'",
        "scalesweep plan 'sweep.axes.recipe.lr=[0.003,0.006,0.012]'",
        "scalesweep plan budget.hours=0.1 cost.usd_per_device_hour=0.05",
    ),
    "worker": (
        "scalesweep worker runs/demo",
        "scalesweep worker runs/demo --device cuda:3",
        "scalesweep worker /shared/runs/demo --workers auto",
    ),
    "status": ("scalesweep status runs/demo", "scalesweep status runs/demo --watch", "scalesweep status runs/demo --json"),
    "logs": ("scalesweep logs runs/demo 0f3a", "scalesweep logs runs/demo 0f3a1c5d7e9b", "scalesweep logs runs/smoke 84d9"),
    "retry": ("scalesweep retry runs/demo failed", "scalesweep retry runs/demo 0f3a", "scalesweep retry runs/smoke failed"),
    "cancel": ("scalesweep cancel runs/demo", "scalesweep cancel runs/smoke", "scalesweep cancel /scratch/runs/demo"),
    "export": (
        "scalesweep export runs/demo out=points.csv",
        "scalesweep export runs/demo out=points.parquet count.params=total",
        "scalesweep export runs/demo layout=chinchilla out=df.csv",
    ),
    "fit": (
        "scalesweep fit runs/demo",
        "scalesweep fit points.csv fit.huber_delta=0.001",
        "scalesweep fit points=chinchilla fit.bootstrap=4000 fit.confidence=0.95",
    ),
    "report": (
        "scalesweep report runs/demo",
        "scalesweep report runs/demo report.title=my_first_law",
        "scalesweep report points.csv",
    ),
    "plot": (
        "scalesweep plot power_laws runs/demo",
        "scalesweep plot isoflops points=chinchilla out=isoflops.pdf",
        "scalesweep plot joint_fit --points points.csv out=joint.svg theme=dark",
    ),
    "coverage": (
        "scalesweep coverage runs/demo",
        "scalesweep coverage points.csv replicates=400",
        "scalesweep coverage points.csv fit.confidence=0.95 fit.bootstrap=400",
    ),
    "tournament": (
        "scalesweep tournament runs/demo",
        "scalesweep tournament points=chinchilla",
        "scalesweep tournament points.csv fit.bootstrap=200",
    ),
    "forecast": (
        "scalesweep forecast runs/demo at=[1M,3M]",
        "scalesweep forecast runs/demo compute=1e13 file=forecast.json",
        "scalesweep forecast points=chinchilla compute=1e23",
    ),
    "score": (
        "scalesweep score forecast.json runs/demo",
        "scalesweep score forecast.json points.csv",
        "scalesweep score forecast.json points=chinchilla",
    ),
    "next": (
        "scalesweep next runs/demo budget=1e13 target=1e14",
        "scalesweep next points.csv budget=1e18 target=1e20 method=v_optimal",
        "scalesweep next points=chinchilla budget=1e23 target=1e24",
    ),
    "check": (
        "scalesweep check transfer",
        "scalesweep check transfer recipe=sp depths=[] sizes=[32x2,64x2,128x2] lrs=[0.001,0.003,0.01,0.03]",
        "scalesweep check transfer widths=[] depths=[] sizes=[32x2,32x4,32x8] tokens=256k dir=runs/depths",
    ),
    "model": (
        "scalesweep run sweep=smoke train.keep_weights=true",
        "scalesweep model runs/smoke 0123456789ab",
        "scalesweep model runs/smoke 0123456789ab to=my_model",
    ),
    "data": (
        "scalesweep data",
        "scalesweep data data=files \"data.paths=['texts/*.txt']\" data.tokenizer.vocab_size=2048",
        "scalesweep data data=hub data.name=roneneldan/TinyStories data.max_bytes=50M",
    ),
}


def main_help() -> str:
    """The text of `scalesweep --help`."""
    lines = ["scalesweep: measure, fit and report empirical scaling laws of small transformers.", "", "Commands:"]
    lines += [f"  {name:10} {about}" for name, about in _ABOUT.items()]
    lines += ["", "`scalesweep COMMAND --help` shows a command's config groups and examples. Start with: scalesweep run"]
    return "\n".join(lines) + "\n"


def command_help(name: str) -> str:
    """The text of `scalesweep NAME --help`."""
    lines = [f"usage: {USAGE[name]}", "", _ABOUT[name], *([_FIGURES] if name == "plot" else [])]
    if _GROUPS[name]:
        lines += ["", "Config groups (choose with group=option, change a setting with group.key=value):"]
        lines += [f"  {group:9} {' | '.join(_options(group))}" for group in _GROUPS[name]]
    lines += ["", "Examples:", *(f"  {example}" for example in _EXAMPLES[name])]
    if _GROUPS[name]:
        lines += ["", f"The settings, with comments: {config_dir()}"]
    return "\n".join(lines) + "\n"


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
