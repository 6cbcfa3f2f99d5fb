"""The command line: a thin skin over the stages. Heavy libraries are loaded by the command that needs them."""

import click

from pipelines.commands.data import data
from pipelines.commands.doctor import doctor
from pipelines.commands.explain import similar, why
from pipelines.commands.learning import demo, evaluate, models, train
from pipelines.commands.runs import promote, runs, track
from pipelines.commands.serving import export, recommend, serve
from recsys import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recsys")
def main() -> None:
    """From a log of clicks to a measured index that answers requests.

    Settings are KEY=VALUE pairs such as model.dim=128; `recsys train world --dry-run` lists them all.
    """


for command in (
    demo,
    train,
    evaluate,
    export,
    recommend,
    serve,
    models,
    data,
    runs,
    promote,
    track,
    why,
    similar,
    doctor,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
