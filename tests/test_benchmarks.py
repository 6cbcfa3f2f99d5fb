"""The runs that the quality table is made of: a wrong setting shows here and not after ten minutes of
learning."""

import pytest

from benchmarks.quality_jobs import FACTORIZATIONS, LONG, QUICK, WORLDS, Job
from recsys.evaluation.metrics.by_name import resolve_all
from recsys.pipelines.run.settings import load_settings


@pytest.mark.parametrize(
    "job", [*QUICK, *WORLDS, *FACTORIZATIONS, *LONG], ids=lambda job: f"{job.config} {job.label}"
)
def test_a_job_has_settings_that_load_and_judges_what_it_reports(job: Job) -> None:
    settings = load_settings(job.config, job.assignments)
    assert settings.judge == "test"
    assert set(job.metrics) <= {metric.name for metric in resolve_all(settings.metrics)}


def test_no_two_rows_of_the_table_have_one_name() -> None:
    named = [
        (job.config, job.label or load_settings(job.config, job.assignments).model_name, job.assignments[-1:])
        for job in (*QUICK, *WORLDS, *FACTORIZATIONS)
    ]
    assert len(set(named)) == len(named)
