"""Readers of published benchmark annotation files: what a file holds, under the split's full name, with an account.

    from vcwork.data.benchmarks import read_youcook2_csv, ...
    read_youcook2_csv(path)                         validation_youcook.csv (HowTo100M): 3,350 clips, role test
    read_youcook2_json(path, subset)                official json; subset training or validation
    read_msrvtt_1ka(path)                           JSFusion csv, 1,000 captions, role test
    read_msrvtt_json(paths, split, test_ids, ids)   videodatainfo; split a key of msrvtt.SPLITS: full train, full
                                                    validate, full test, 7k, 9k
    read_msrvtt_ids(path)                           video ids of a published 7k or 9k list
    read_msrvtt_qa(path)                            multiple-choice TSV; clips are Questions (choices, answer)
    read_didemo(path, split)                        {train,val,test}_data.json; clips are Moments (chunks, n_chunks)
    read_coin(path, subset, taxonomy)               COIN.json; subset training or testing
    read_coin_taxonomy(path)                        {label id: label} from csv
    read_crosstask(folder, part, have, n_train)     release folder; part train, val or test, drawn as the reference does

Each returns a `Benchmark` (frozen) of one split:
    name, title, role (train, val, test), unit; `split`: the full name, e.g. "YouCook2 val 3,350 (HowTo100M csv)"
    clips   tuple of Clip(video, start_s, end_s, text, recipe, step, where); end_s is inf for a whole video of unknown
            length; `texts`: the clips' texts as compared (lower-cased, white space normalised)
    videos  {video id: Listed(duration_s, recipe)}, 0 and "" where unknown
    steps   {step id: label}, tasks {recipe id: Task(name, steps)}
    accounting  Accounting, a Coverage: counts {"videos", "clips": Count(expected, missing {what: why}), .present},
            denominators, notes, changed {what: n}, duplicates {what: n}, over_32_s (share or None); table(), as_dict()

`check_no_leak(train, test)` refuses videos in both, naming them; `same_split(a, b)` numbers of different splits.
`read_benchmark(name, source)` reads a source folder as {role: Benchmark}; `benchmark_corpus(name, source, folder,
features)` makes it a corpus and a feature store (both in `vcwork.data.benchmarks.corpora`).
`plain(text)`: a text as compared. What is an error and what is counted: see `vcwork.data.benchmarks.common`.
"""

from vcwork.data.benchmarks.coin import read_coin, read_coin_taxonomy
from vcwork.data.benchmarks.common import Accounting, Benchmark, Clip, Listed, Task, check_no_leak, plain, same_split
from vcwork.data.benchmarks.crosstask import read_crosstask
from vcwork.data.benchmarks.didemo import Moment, read_didemo
from vcwork.data.benchmarks.msrvtt import read_msrvtt_1ka, read_msrvtt_ids, read_msrvtt_json
from vcwork.data.benchmarks.msrvtt_qa import Question, read_msrvtt_qa
from vcwork.data.benchmarks.youcook2 import read_youcook2_csv, read_youcook2_json

__all__ = [
    "Accounting",
    "Benchmark",
    "Clip",
    "Listed",
    "Moment",
    "Question",
    "Task",
    "check_no_leak",
    "plain",
    "read_coin",
    "read_coin_taxonomy",
    "read_crosstask",
    "read_didemo",
    "read_msrvtt_1ka",
    "read_msrvtt_ids",
    "read_msrvtt_json",
    "read_msrvtt_qa",
    "read_youcook2_csv",
    "read_youcook2_json",
    "same_split",
]
