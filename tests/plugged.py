"""Packages with plug-ins, made by a test and installed into a folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

ARCHITECTURE = """
    from dataclasses import dataclass

    from seqprobe.models import Architecture, ModelConfig
    from seqprobe.models.architecture import recurrent_stack
    from seqprobe.models.rnn import RNNLayer


    @dataclass(frozen=True)
    class WobbleConfig(ModelConfig):
        tilt: int = 3


    ARCHITECTURE = Architecture(
        name="wobble",
        summary="a tanh network from elsewhere",
        config=WobbleConfig,
        build=recurrent_stack(lambda d, config: RNNLayer(d, config.width)),
        learning_rate=3e-3,
    )
"""
TASK = """
    from seqprobe.tasks.delay import Delay


    class Echo(Delay):
        name = "echo"
        summary = "delayed recall from elsewhere"
"""
ANALYSES = """
    import click
    import torch
    import xarray as xr
    from matplotlib.figure import Figure

    from seqprobe import provenance
    from seqprobe.cli.analysis import Subject, View, analysis_command, number, text
    from seqprobe.schema import variable


    def draw(results):
        figure = Figure()
        figure.subplots().plot(results["loudness"])
        return figure


    VIEW = View(
        schema="loud.loudness/1",
        columns={"loudness": lambda r: text(r["loudness"], 3)},
        as_json=lambda r: {"loudness": number(r["loudness"])},
        figure=draw,
    )
    OPTION = click.option("--gain", type=int, default=1, show_default=True, help="Times this.")
    EXAMPLES = "Examples: seqprobe NAME checkpoints/delay/gru-s0.pt"


    def loudness(subject: Subject, gain: int) -> xr.Dataset:
        \"\"\"How loud are its weights?

        Their root mean square.
        \"\"\"
        weights = torch.cat([p.detach().flatten() for p in subject.model.parameters()])
        value = gain * weights.square().mean().sqrt().item()
        made = xr.Dataset({"loudness": variable((), value, "root mean square weight", "1")})
        return made.assign_attrs(provenance.of_model("loud", subject.model, {"gain": gain}))


    alone = analysis_command(None, "loudness", VIEW, OPTION, examples=EXAMPLES)(loudness)
    member = analysis_command(None, "memory.loudness", VIEW, OPTION, examples=EXAMPLES)(loudness)
"""
ADAPTER = """
    class Everything:
        name = "everything"

        def matches(self, module):
            return True

        def wrap(self, module):
            return module


    ADAPTER = Everything()
"""
WOBBLE = {
    "architectures": {"wobble": "models:ARCHITECTURE"},
    "tasks": {"echo": "tasks:Echo"},
    "analyses": {"loudness": "analyses:alone", "memory.loudness": "analyses:member"},
    "adapters": {"everything": "adapters:ADAPTER"},
}
SOURCES = {"models": ARCHITECTURE, "tasks": TASK, "analyses": ANALYSES, "adapters": ADAPTER}


def write_package(
    folder: Path,
    name: str,
    groups: Mapping[str, Mapping[str, str]],
    sources: Mapping[str, str],
    version: str = "1.2",
) -> None:
    """Write a package with its metadata, as pip would install it."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for module, source in sources.items():
        (package / f"{module}.py").write_text(dedent(source))
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in groups.items():
        lines.append(f"[seqprobe.{group}]")
        lines += [f"{entry} = {name}.{value}" for entry, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(folder: Path, *packages: str) -> Iterator[None]:
    """Put a folder on the path of this process, and undo all that its packages did to it."""
    from seqprobe.cli import plugged
    from seqprobe.cli.app import COMMANDS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugged, "_adopted", set())
        for name in plugged.GROUPS:
            group = importlib.import_module(COMMANDS[name][0]).command
            patch.setattr(group, "commands", dict(group.commands))
        patch.syspath_prepend(str(folder))
        yield
        for module in [*sys.modules]:
            if module.partition(".")[0] in packages:
                del sys.modules[module]
