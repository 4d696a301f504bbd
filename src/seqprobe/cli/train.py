"""``seqprobe train``: train a model on a task and keep it as a checkpoint."""

from __future__ import annotations

from typing import Any

import click

from seqprobe import device as devices
from seqprobe.cli.common import echo_json, progress, run_options
from seqprobe.config import from_mapping, parse_assignments
from seqprobe.errors import UsageError
from seqprobe.files import sha256
from seqprobe.models import ModelConfig, architecture, match_params, parse_budget
from seqprobe.tasks import Task, make_task
from seqprobe.training import Checkpoint, Progress, TrainConfig, Until, train

EXAMPLES = """\b
Examples:
  seqprobe train gru delay -o gru.pt --steps 200
  seqprobe train tcn delay -o tcn.pt --set task.delay=5 --set model.kernel=3 --until nmse=0.01
  seqprobe train lstm digits -o lstm.pt --params 10k --steps 50 --seed 1
  seqprobe train gru delay -o gru.pt --steps 200 --resume
"""


@click.command(epilog=EXAMPLES)
@click.argument("model")
@click.argument("task")
@click.option("-o", "--output", required=True, metavar="FILE.pt", help="Where the checkpoint goes.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting under model., task. or train.; may be repeated.",
)
@click.option("--params", metavar="N|20k", help="Choose the width for this number of parameters.")
@click.option("--steps", type=click.IntRange(0), help="Largest number of updates.")
@click.option("--until", metavar="METRIC=VALUE", help="Stop at this validation score.")
@click.option(
    "--patience",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N validations in a row that meet --until.",
)
@click.option("--resume", is_flag=True, help="Go on after a kill; same settings needed.")
@click.option("--keep-resume", is_flag=True, help="Keep FILE.resume.pt when training is done.")
@click.option("--overwrite", is_flag=True, help="Replace an existing checkpoint.")
@run_options
def command(
    model: str,
    task: str,
    output: str,
    settings: tuple[str, ...],
    params: str | None,
    steps: int | None,
    until: str | None,
    patience: int | None,
    resume: bool,
    keep_resume: bool,
    overwrite: bool,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train MODEL on TASK and keep the best weights as a checkpoint.

    'seqprobe ls models' and 'seqprobe ls tasks' list the names with their settings.
    """
    values = parse_assignments(settings, ("model", "task", "train"))
    if steps is not None:
        _set_once(values["train"], "steps", steps, "--steps")
    problem = make_task(task, values["task"])
    model_config = _model_config(model, problem, values["model"], params)
    if patience is not None and until is None:
        raise UsageError("--patience needs a threshold; give it with --until METRIC=VALUE")
    stop = None if until is None else Until.parse(until, problem, patience or 1)
    devices.tune_malloc()

    with progress(quiet, "updates") as update:

        def on_step(now: Progress) -> None:
            text = f"loss {now.loss:.4g}  {problem.metric.name} {now.score:.4g}"
            update(now.step, now.steps, text)

        checkpoint = train(
            model,
            problem,
            output,
            model_config=model_config,
            config=from_mapping(TrainConfig, values["train"], "train"),
            until=stop,
            seed=seed,
            device=devices.resolve(device),
            resume=resume,
            keep_resume=keep_resume,
            overwrite=overwrite,
            on_step=on_step,
        )
    if as_json:
        echo_json(_as_json(checkpoint, output))
    elif not quiet:
        _print(checkpoint, problem, output)


def _model_config(
    model: str, task: Task, values: dict[str, Any], params: str | None
) -> ModelConfig:
    config = from_mapping(architecture(model).config, values, "model")
    if params is None:
        return config
    if "width" in values:
        raise UsageError("--params chooses the width; drop it or --set model.width")
    return match_params(model, task.spec, config, parse_budget(params))


def _set_once(values: dict[str, Any], key: str, value: Any, option: str) -> None:
    if values.setdefault(key, value) != value:
        raise UsageError(f"{option} and --set train.{key} disagree; give one of them")


def _as_json(checkpoint: Checkpoint, path: str) -> dict[str, Any]:
    return {
        "schema": "seqprobe.train/1",
        "checkpoint": path,
        "sha256": sha256(path),
        "model": checkpoint.model,
        "task": checkpoint.task,
        "params": checkpoint.params,
        "seed": checkpoint.seed,
        "step": checkpoint.step,
        "stopped": checkpoint.stopped,
        **checkpoint.metrics["test"],
        "chance": checkpoint.chance,
        "baseline": checkpoint.baseline,
        "solved": checkpoint.solved,
    }


def _print(checkpoint: Checkpoint, task: Task, path: str) -> None:
    test, baseline = checkpoint.metrics["test"], checkpoint.baseline
    click.echo(
        f"{path}: {checkpoint.model['name']} on {task.name}, {checkpoint.params} parameters,"
        f" weights of update {checkpoint.step} ({checkpoint.stopped})"
    )
    click.echo(
        f"test {test['metric']} {test['score']:.4f} +- {test['standard_error']:.4f}"
        f" on {test['n']} sequences (chance {checkpoint.chance:g},"
        f" {baseline['name']} {baseline['score']:.4f});"
        f" {'solved' if checkpoint.solved else 'not solved'}"
        f" (criterion {'<=' if task.metric.better == 'lower' else '>='} {task.solved_at:g})"
    )
