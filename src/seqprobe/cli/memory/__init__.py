"""The command ``seqprobe memory``: how far back a trained model remembers, question by question."""

from seqprobe.cli.memory import (
    context,
    copy_curve,
    fisher,
    information,
    ipc,
    linear,
    perturbation,
    profile,
    receptive_field,
    report,
    substitution,
    total_effect,
)
from seqprobe.cli.memory.group import command

__all__ = ["EXAMPLES", "command"]

_QUESTIONS = (
    *(profile, total_effect, substitution, perturbation, context, copy_curve),
    *(linear, information, ipc, fisher, receptive_field, report),
)
EXAMPLES = "\n".join(module.EXAMPLES for module in _QUESTIONS)
