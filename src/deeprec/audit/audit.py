"""Every check of a run, in the order of the pipeline."""

from __future__ import annotations

from deeprec.audit.files import check_files
from deeprec.audit.findings import Finding, Verdict
from deeprec.audit.hashes import check_data, check_evaluation, check_stages
from deeprec.audit.prompts import check_prompts
from deeprec.audit.seen import check_ledgers
from deeprec.data.format import read_dataset
from deeprec.errors import DeepRecError
from deeprec.run import Run

# What reading a row raises that lacks what it should hold, or holds something else.
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


def audit(run: Run) -> list[Finding]:
    """What the files of a run prove: all is there as it was written, nothing was learned from a target.

    Sizes and hashes, data, ledgers of what each stage was given, saved prompts, fingerprints, and rankings are read;
    no model is run. Nothing is checked before the data stage has finished.
    """
    if "data" not in run.finished():
        return []
    found = check_files(run)
    try:
        dataset = read_dataset(run.data)
    except DeepRecError as error:
        return [*found, Finding("the prepared data are whole", Verdict.PROBLEM, str(error))]
    checks = [check_stages]
    if dataset.withheld:
        found.append(Finding("nothing was learned from a target", Verdict.UNPROVEN, dataset.without_users()))
    else:
        checks = [check_data, check_stages, check_ledgers, check_prompts, check_evaluation]
    for check in checks:
        try:
            found += check(run, dataset)
        except (DeepRecError, *_DAMAGED) as error:  # a broken file is a finding, and the other checks go on
            told = str(error) if isinstance(error, DeepRecError) else f"a file is damaged: {error!r}"
            found.append(Finding(check.__name__.replace("_", " "), Verdict.PROBLEM, told))
    return found
