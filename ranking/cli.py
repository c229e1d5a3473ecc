"""The command line: commands in the order in which a day uses them."""

from __future__ import annotations

import typer

from ranking.commands.ablate import ablate
from ranking.commands.apply import apply
from ranking.commands.candidates import app as candidates
from ranking.commands.compare import compare
from ranking.commands.demo import demo
from ranking.commands.drift import drift
from ranking.commands.evaluate import evaluate
from ranking.commands.features import app as features
from ranking.commands.importance import explain, importance
from ranking.commands.load import load
from ranking.commands.materialize import materialize
from ranking.commands.models import models
from ranking.commands.recommend import recommend
from ranking.commands.refresh import refresh
from ranking.commands.serve import serve
from ranking.commands.skew import skew
from ranking.commands.train import train
from ranking.commands.tune import tune
from ranking.commands.validate import validate

app = typer.Typer(
    name="rankhouse",
    help="A ranking platform built on a feature store.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def rankhouse() -> None:
    """A ranking platform built on a feature store."""


app.command("load")(load)
app.add_typer(features, name="features")
app.command("apply")(apply)
app.add_typer(candidates, name="candidates")
app.command("materialize")(materialize)
app.command("train")(train)
app.command("tune")(tune)
app.command("validate")(validate)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("ablate")(ablate)
app.command("importance")(importance)
app.command("refresh")(refresh)
app.command("recommend")(recommend)
app.command("serve")(serve)
app.command("explain")(explain)
app.command("drift")(drift)
app.command("skew")(skew)
app.add_typer(models, name="models")
app.command("demo")(demo)
