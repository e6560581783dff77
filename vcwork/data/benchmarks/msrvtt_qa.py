"""MSR-VTT multiple choice ("VideoQA" in the paper): a video, five captions, one of them its own.

JSFusion's MSR_MC_test.csv, which has tabs: `vid_key` (msr1234 is video1234), a1 to a5, `answer` counted from 0. Other
columns are passed over; commas instead of tabs are read as well.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from vcwork.base.files import read_text, resolve
from vcwork.data.benchmarks.common import Benchmark, Clip, Listed, Tally, plain
from vcwork.data.benchmarks.msrvtt import of_key
from vcwork.data.benchmarks.reading import read_rows

NAME = "MSR-VTT-QA"
CHOICES = ("a1", "a2", "a3", "a4", "a5")


@dataclass(frozen=True)
class Question(Clip):
    """A clip whose `text` is `choices[answer]`."""

    choices: tuple[str, ...] = ()
    answer: int = 0


def read_msrvtt_qa(path: str | Path) -> Benchmark:
    """Every row a Question, role test, in the file's order; a video may have several.

    Counted: questions in which a wrong choice has the same text as the right one (they stay, as published). VcworkError
    besides the common ones: an answer that is not 0 to 4, an empty choice.
    """
    tally, head = Tally(path), read_text(resolve(path)).partition("\n")[0]
    for at, row in read_rows(path, ("vid_key", *CHOICES, "answer"), delimiter="\t" if "\t" in head else ","):
        at = at.id(of_key(at, row["vid_key"].strip()))
        choices = tuple(row[name].strip() for name in CHOICES)
        answer = at.whole(row["answer"], "answer", 0, len(CHOICES) - 1)
        if not all(choices):
            at.fail(f"{CHOICES[choices.index('')]}: expected a caption, got none")
        tally.video(at, Listed(), "a question")
        same = [plain(choice) for choice in choices].count(plain(choices[answer]))
        tally.changed["questions whose right caption is also a wrong one"] += same > 1
        tally.add(at, Question(at.video, 0.0, math.inf, choices[answer], choices=choices, answer=answer))
    tally.compare(tally.expected, 2990, "questions in the table")
    return tally.close(NAME, "MSR-VTT-QA multiple choice {n}", "test", "clips")
