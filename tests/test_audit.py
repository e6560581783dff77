"""Somebody's scores from a file: the numbers are the notebooks', bad files are refused in a sentence, bundles agree."""

import csv
import importlib.util
import json
import os
import re
import shutil
import threading
import time
import zipfile

import made_benchmarks as made
import numpy as np
import pytest
from checks import refused
from safetensors.numpy import save_file
from sklearn.metrics import ndcg_score

from vcwork.__main__ import main
from vcwork.base.errors import VcworkError
from vcwork.base.sealed import with_seal
from vcwork.data.benchmarks.spans import read_charades, read_predicted
from vcwork.measure import metrics, trivial
from vcwork.measure.card import Card
from vcwork.measure.streamed import Pairs, hit_in_pool, kept, place_streamed, told
from vcwork.review import geometry, retrieval_audit
from vcwork.review.annotated import read_annotations
from vcwork.review.audit import audit_retrieval
from vcwork.review.blind import truths
from vcwork.review.gallery import aligned, benchmark_gallery, read_gallery, unknown_gallery
from vcwork.review.scores import Scores, open_scores
from vcwork.tasks import localization, opponents, retrieval, segmentation, spans, videoqa
from vcwork.tasks.cases import clip_scores, localization_cases, seconds_of_split
from vcwork.workbench import audit_page
from vcwork.workbench.auditing import audit

N = 60
COUNTS = ("above", "tied", "relevant_tied", "n_relevant")


def made_up(seed: int = 0, n: int = N) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores (n, n) with ties, and the labels of n clips."""
    rng = np.random.default_rng(seed)
    labels = {
        "video": np.array([f"v{i // 6}" for i in range(n)]),
        "recipe": np.array([f"r{i // 12}" for i in range(n)]),
    }
    labels["group"] = np.array([f"s{rng.integers(0, 2 * n // 3)}" for _ in range(n)])
    return np.round(rng.standard_normal((n, n)) + 2 * np.eye(n), 1).astype(np.float32), labels


def write_items(path, labels, texts=None, order=None):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text", "item_id", "query_id", *labels])
        for i in order if order is not None else range(len(labels["video"])):
            out.writerow([texts[i] if texts else f"do {i}", f"c{i}", f"q{i}", *(each[i] for each in labels.values())])
    return path


@pytest.fixture
def files(tmp_path):
    """Scores as .npy and items as csv."""
    scores, labels = made_up()
    np.save(tmp_path / "scores.npy", scores)
    return scores, labels, tmp_path / "scores.npy", write_items(tmp_path / "items.csv", labels)


# ---------------------------------------------------------------------------------------------- the same numbers


def test_an_audit_gives_what_the_notebooks_evaluation_gives(files):
    scores, labels, path, items = files
    videos, recipes, groups = labels["video"], labels["recipe"], labels["group"]
    wanted = retrieval.evaluate(scores, groups, groups, videos, videos, recipes, setting=Card(split="x"))
    found = audit_retrieval(open_scores(path), read_gallery(items)).results
    assert [r.name for r in found] == [r.name for r in wanted]
    for here, there in zip(found, wanted, strict=True):
        for key in ("value", "low", "high", "chance", "n"):
            assert getattr(here, key) == pytest.approx(getattr(there, key), abs=1e-9), (here.name, key)
        assert here.trivial == pytest.approx(there.trivial)
        for key in ("pool", "ties", "right", "captions", "tied"):
            assert getattr(here.protocol, key) == getattr(there.protocol, key), (here.name, key)


@pytest.mark.parametrize(("queries", "items", "groups", "decimals"), [(40, 40, 15, 7), (90, 50, 20, 1), (30, 70, 9, 0)])
def test_two_passes_over_blocks_count_as_the_whole_matrix(queries, items, groups, decimals):
    rng = np.random.default_rng(queries)
    scores = np.round(rng.standard_normal((queries, items)), decimals).astype(np.float32)
    wanted, here = rng.integers(0, groups, queries), rng.integers(0, groups, items)
    right, relevant = Pairs.of(wanted, here), wanted[:, None] == here
    found = place_streamed(lambda: iter(np.array_split(scores, 7)), right, 5)
    for places, matrix, marks in ((found.to_item, scores, relevant), (found.to_query, scores.T, relevant.T)):
        asked = marks.any(1)
        whole, mine = metrics.place(matrix[asked], marks[asked]), kept(places, asked)
        assert all((getattr(whole, name) == getattr(mine, name)).all() for name in COUNTS)
    np.testing.assert_allclose(found.found, geometry.hubness(scores, 5).counts)
    asked, labels = relevant.any(1), (rng.integers(0, 4, queries), rng.integers(0, 4, items))
    guess = metrics.place(trivial.known_group(*labels)[asked], relevant[asked])
    assert all((getattr(guess, n) == getattr(kept(told(*labels, right), asked), n)).all() for n in COUNTS[:3])


def test_the_closed_form_of_a_pool_is_the_mean_over_pools():
    scores, _ = made_up(n=24)
    places = metrics.place(scores)
    drawn = retrieval_audit.pool_curve(scores, np.arange(24), [5], np.eye(24, dtype=bool), draws=4000)[0]
    assert hit_in_pool(places, 5).mean() == pytest.approx(drawn.value, abs=0.01)
    np.testing.assert_allclose(hit_in_pool(places, 24), places.hit(1))
    assert all(hit_in_pool(metrics.place(np.eye(12)), n).max() <= 1 for n in range(1, 13)), "a chance"


def test_dual_softmax_is_that_of_the_retrieval_audit():
    scores = np.random.default_rng(3).standard_normal((50, 50)).astype(np.float32)
    right = Pairs.of(np.arange(50), np.arange(50))
    found = place_streamed(lambda: iter([scores]), right).dual
    wanted = metrics.place(retrieval_audit.dual_softmax(scores.astype(float)).scores)
    assert (found.above == wanted.above).all()


def test_the_reference_codes_retrieval_through_files(reference, tmp_path):
    """Its metric on its own scores, without and with ties."""
    vectors = np.load(reference / "metric_vectors.npz")
    for case in ("retr", "retr_ties"):
        np.save(tmp_path / "s.npy", vectors[f"{case}_x"])
        made = audit(tmp_path / "s.npy", ties="reference")
        assert [r.name for r in made.results] == ["t2v_R@1", "t2v_R@5", "t2v_R@10", "t2v_MdR"]
        assert [r.value for r in made.results] == pytest.approx(vectors[f"{case}_out"].tolist(), abs=1e-6)
        assert made.doubts.tie_rules["reference"] == made.headline.value
        with pytest.raises(VcworkError, match="pairs with no second system"):
            audit(tmp_path / "s.npy", ties="reference", against=tmp_path / "s.npy")


def test_the_reference_codes_dynamic_program_through_files(reference, tmp_path):
    """Its own costs and the seconds it chose; half of the steps are told to be there, the others a second beside.

    From scores it takes minus the log softmax over the steps, so those say the same as scores.
    """
    vectors, marked, costs, hits = np.load(reference / "metric_vectors.npz"), {}, {}, {"even": [], "odd": []}
    for n, name in enumerate(name for name in vectors if name.startswith("dp_cost_")):
        seconds, task = vectors[name.replace("cost", "out")].argmax(0), "odd" if n % 2 else "even"
        right = (np.arange(len(seconds)) + n) % 2 == 0
        costs[name] = vectors[name]
        hits[task].extend(right)
        there = np.where(right, seconds, np.abs(seconds - 1)).tolist()
        spans = [[[t, t + 1]] for t in there]
        marked[name] = {"task": task, "intervals": spans}
    made.write_json(tmp_path / "t.json", marked)

    def audited(arrays, **asked):
        np.savez(tmp_path / "s.npz", **arrays)
        found = audit(tmp_path / "s.npz", task="localization", items=tmp_path / "t.json", **asked).results
        return {r.name: r.value for r in found}

    found = audited(costs, costs=True, against=tmp_path / "s.npz")
    assert found["recall"] == pytest.approx(np.mean([np.mean(each) for each in hits.values()]), abs=1e-6)
    assert found["recall_micro"] == pytest.approx(np.mean(hits["even"] + hits["odd"]), abs=1e-6)
    assert audited({name: -each for name, each in costs.items()})["recall_micro"] != found["recall_micro"]
    scores = {name: np.random.default_rng(1).standard_normal(each.shape) for name, each in costs.items()}
    logs = {name: np.log(np.exp(each).sum(1, keepdims=True)) - each for name, each in scores.items()}
    assert audited(scores) == pytest.approx(audited(logs, costs=True), abs=1e-9)


def test_the_reference_codes_segmentation_and_choices_through_files(tmp_path):
    """COIN without training, and questions, by the rules in words: 1 - errors / seconds, and hits of the best choice.

    gamma is the largest similarity of two labels, of which two are the same; a second is background unless above.
    """
    rng = np.random.default_rng(3)
    labels = rng.standard_normal((6, 8))
    labels[4] = labels[1] = 0.5 * labels[1]
    gamma = max(labels[i] @ labels[j] for i in range(6) for j in range(6) if i != j)
    truth = {f"v{i}": rng.integers(0, 7, 30 + i) for i in range(5)}
    states = {id: labels[np.maximum(t - 1, 0)] * (0.2 + (t > 0))[:, None] + rng.normal(0, 0.7, (len(t), 8))
              for id, t in truth.items()}  # fmt: skip
    scores, errors, background = {id: each @ labels.T for id, each in states.items()}, 0, 0
    for id, right in truth.items():
        for row, label in zip(scores[id], right, strict=True):
            said = row.argmax() + 1 if row.max() > gamma else 0
            errors, background = errors + (said != label), background + (said == 0)
    seconds = sum(map(len, truth.values()))
    assert 0.1 * seconds < background < 0.9 * seconds
    np.savez(tmp_path / "s.npz", **scores)
    np.savez(tmp_path / "t.npz", **truth)
    asked = {"task": "segmentation", "items": tmp_path / "t.npz", "gamma": gamma}
    found = audit(tmp_path / "s.npz", against=tmp_path / "s.npz", **asked)
    assert found.headline.value == pytest.approx(1 - errors / seconds, abs=1e-6)
    assert found.against[0][1] == found.headline.value and found.against[0][2].difference == 0
    same(found.results, segmentation.evaluate([*scores.values()], [*truth.values()], [*truth], gamma))
    for wrong in ({"v0": scores["v0"][:, :5]}, {id: each[:, :5] for id, each in scores.items()}):
        np.savez(tmp_path / "w.npz", **(scores | wrong))
        with pytest.raises(VcworkError, match=r"w\.npz: expected scores of the same steps in all videos, 6 or more"):
            audit(tmp_path / "w.npz", **asked)

    chosen, answers = rng.random((50, 5)), rng.integers(0, 5, 50)
    np.save(tmp_path / "s.npy", chosen)
    (tmp_path / "q.csv").write_text("answer,video\n" + "".join(f"{a},v{i}\n" for i, a in enumerate(answers)))
    found = audit(tmp_path / "s.npy", task="qa", items=tmp_path / "q.csv")
    assert found.headline.value == pytest.approx((chosen.argmax(1) == answers).mean(), abs=1e-6)


@pytest.mark.parametrize(("asked", "message"), [
    (["--gamma", "1"], "--gamma: expected a number, and --task segmentation, got 1.0 for retrieval"),
    (["--gamma", "nan", "--task", "segmentation"], "--gamma: expected a number"),
    (["--costs", "--task", "qa"], "--costs: expected --task localization, got qa"),
])  # fmt: skip
def test_rules_of_another_task_are_refused(asked, message, tmp_path, capsys):
    assert main(["audit", str(tmp_path / "s.npz"), *asked]) == 2
    assert message in capsys.readouterr().err


def test_the_labs_scores_through_files_give_what_the_notebooks_print(ws, clips, tmp_path):
    """What notebooks 30 to 33 evaluate on the tiny world, with all that they put beside it, as files and audited."""

    def agrees(made, wanted):
        there = {r.name: r for r in wanted}
        assert made.results and made.headline.name == wanted[0].name
        for here in made.results:
            for key in ("value", "low", "high", "chance", "n"):
                assert getattr(here, key) == pytest.approx(getattr(there[here.name], key), abs=1e-6), (here.name, key)
            assert here.trivial.items() <= there[here.name].trivial.items()

    scores, out = clip_scores(ws.encoder, clips), tmp_path / "s"
    np.save(f"{out}.npy", scores)
    items = write_items(
        tmp_path / "i.csv", {"video": clips.videos, "group": clips.steps, "recipe": clips.recipes}, clips.sentences
    )
    others = opponents.of_retrieval(ws.corpus, clips, ws.encoder)
    agrees(audit(f"{out}.npy", items=items), retrieval.evaluate(scores, *clips.labels, **others))

    rows = np.arange(len(clips))
    choices, answer = videoqa.build_choices(clips.steps, near=[clips.videos, clips.recipes])
    chosen = scores.T[rows[:, None], choices]
    np.save(f"{out}.npy", chosen)
    lines = ["answer,video", *(f"{a},{v}" for a, v in zip(answer, clips.videos, strict=True))]
    (tmp_path / "q.csv").write_text("\n".join(lines))
    agrees(audit(f"{out}.npy", task="qa", items=tmp_path / "q.csv"), videoqa.evaluate(chosen, answer, clips.videos))

    seconds = seconds_of_split(ws.encoder, ws.corpus, ws.store, "test")
    cases = localization_cases(seconds, ws.corpus)
    np.savez(f"{out}.npz", **{case.video: case.scores for case in cases})
    told = {case.video: {"task": case.task, "intervals": case.intervals} for case in cases}
    (tmp_path / "t.json").write_text(json.dumps(told))
    agrees(audit(f"{out}.npz", task="localization", items=tmp_path / "t.json"), localization.evaluate(cases))

    said = [segmentation.segment(each, 0.0) for each in seconds.scores]
    np.savez(f"{out}.npz", **dict(zip(seconds.ids, said, strict=True)))
    np.savez(tmp_path / "t.npz", **dict(zip(seconds.ids, seconds.truths, strict=True)))
    wanted = segmentation.evaluate(seconds.scores, seconds.truths, seconds.ids, 0.0)
    agrees(audit(f"{out}.npz", task="segmentation", items=tmp_path / "t.npz"), wanted)


def test_graded_relevance_is_scored_as_scikit_learn_does(tmp_path):
    """Tied scores have the mean discount of their ranks; a run lists some items, and some queries have a grade 0."""
    rng = np.random.default_rng(4)
    scores = np.round(rng.random((7, 12)), 1) + 0.05
    grades = rng.integers(0, 4, scores.shape) * (rng.random(scores.shape) < 0.4)
    grades[:, 0] = 1
    queries, items = [f"q{i}" for i in range(7)], [f"d{i}" for i in range(12)]
    _as_file("run", tmp_path, scores, queries, items)
    rows = [f"q{q} 0 d{d} {grades[q, d]}" for q, d in zip(*np.nonzero(grades), strict=True)]
    (tmp_path / "t.qrels").write_text("\n".join([*rows, "q0 0 d99 0"]))
    made = audit(tmp_path / "scores.run", items=tmp_path / "t.qrels", against=tmp_path / "scores.run")
    found = {r.name: r for r in made.results}
    for name, k in (("t2v_nDCG@10", 10), ("t2v_nDCG", None)):
        wanted = [ndcg_score(g[None], s[None], k=k) for g, s in zip(grades, scores, strict=True)]
        assert found[name].value == pytest.approx(np.mean(wanted), abs=1e-9)
        blind = [ndcg_score(g[None], np.zeros((1, 13)), k=k) for g in np.pad(grades, ((0, 0), (0, 1)))]
        assert found[name].chance == pytest.approx(np.mean(blind), abs=1e-9)
    assert found["t2v_R@1"].value == pytest.approx(metrics.place(scores, grades > 0).hit(1).mean())
    assert found["t2v_R@1"].protocol.pool == 13 and made.doubts.pools == [] and "t2v_instance_R@1" not in found
    assert f"{12 - grades.any(0).sum()} items are in the scores alone" in made.notes[0]
    assert made.against[0][2].difference == 0 and made.against[-1][0] == "t2v_nDCG"
    for line, message in (("q0 0 d1", "line 1: expected `query 0 item grade`, got 3"), ("q 0 d -1", "grade: expected"),
                          ("q0 0 d1 1\nq0 0 d1 2", "line 2: item 'd1' of query 'q0' comes twice")):  # fmt: skip
        (tmp_path / "t.qrels").write_text(line)
        with pytest.raises(VcworkError, match=message):
            audit(tmp_path / "scores.run", items=tmp_path / "t.qrels")


# --------------------------------------------------------------------------------------------------- formats


def _as_file(kind, folder, scores, queries, items):
    path = folder / f"scores.{kind}"
    if kind == "npz":
        np.savez(path, scores=scores, query_ids=queries, item_ids=items)
    elif kind == "safetensors":
        save_file({"scores": scores}, path, {"query_ids": json.dumps(queries), "item_ids": json.dumps(items)})
    elif kind == "csv":
        rows = [["", *items], *([q, *map(repr, row.tolist())] for q, row in zip(queries, scores, strict=True))]
        path.write_text("\n".join(",".join(row) for row in rows))
    elif kind == "run":
        lines = [f"{q} Q0 {d} 0 {float(scores[i, j])!r} x" for i, q in enumerate(queries) for j, d in enumerate(items)]
        path.write_text("\n".join(lines))
    elif kind == "parquet":
        arrow = pytest.importorskip("pyarrow", reason="parquet is read with pyarrow")
        from pyarrow import parquet

        columns = [arrow.array(queries), *map(arrow.array, scores.T.astype(float))]
        parquet.write_table(arrow.table(columns, names=["id", *items]), path)
    return path


@pytest.mark.parametrize("kind", ["npz", "safetensors", "csv", "run", "parquet"])
def test_every_format_is_read_and_put_into_the_annotations_order(kind, files, tmp_path):
    scores, _, path, items = files
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(N), rng.permutation(N)
    mixed = np.ascontiguousarray(scores[rows][:, columns])
    other = _as_file(kind, tmp_path, mixed, [f"q{i}" for i in rows], [f"c{i}" for i in columns])
    gallery = read_gallery(items)
    put = np.concatenate(list(aligned(open_scores(other), gallery).rows()))
    np.testing.assert_allclose(put, scores, atol=1e-6)
    wanted, found = (audit_retrieval(open_scores(each), gallery).results for each in (path, other))
    assert [r.value for r in found] == pytest.approx([r.value for r in wanted], abs=1e-9)


def test_embeddings_are_multiplied(tmp_path):
    rng = np.random.default_rng(0)
    text, video = rng.standard_normal((2, 30, 8)).astype(np.float32)
    np.save(tmp_path / "t.npy", text)
    np.save(tmp_path / "v.npy", video)
    np.savez(tmp_path / "both.npz", text=text, video=video)
    for found in (open_scores(tmp_path / "t.npy", tmp_path / "v.npy"), open_scores(tmp_path / "both.npz")):
        np.testing.assert_allclose(np.concatenate(list(found.rows())), text @ video.T, rtol=1e-5)
    cosines = np.concatenate(list(open_scores(tmp_path / "both.npz", cosine=True).rows()))
    np.testing.assert_allclose(cosines, geometry.unit(text) @ geometry.unit(video).T, atol=1e-6)
    for change, cosine, message in ((0.0, True, "texts that have a direction, got only zeros in row 7"),
                                    (np.nan, False, "finite embeddings of texts, got nan at row 7"),
                                    (np.float32(3e38), False, "finite products, got")):  # fmt: skip
        np.savez(tmp_path / "bad.npz", text=np.where(np.arange(30)[:, None] == 7, change, text), video=video)
        with pytest.raises(VcworkError, match=rf"bad\.npz: expected .*{message}"):
            list(open_scores(tmp_path / "bad.npz", cosine=cosine).rows())


def test_what_a_run_does_not_list_stands_behind(tmp_path):
    (tmp_path / "a.run").write_text("q0 Q0 c0 1 2.5 x\nq1 Q0 c1 1 0.5 x\nq1 Q0 c0 2 0.25 x\nq2 Q0 c0 1 1.5 x\n")
    write_items(tmp_path / "i.csv", {"video": ["a", "b", "c"]})
    made = audit_retrieval(open_scores(tmp_path / "a.run"), read_gallery(tmp_path / "i.csv"))
    assert made.headline.value == pytest.approx(2 / 3)  # c2 was never found
    assert "4 of 6 pairs" in " ".join(made.notes)


def test_a_published_gallery_is_known(real):
    gallery = benchmark_gallery("youcook2", real / "annotations" / "validation_youcook.csv")
    assert (gallery.shape == (3350, 3350) and len(set(gallery.videos)) == 387) or len(set(gallery.videos)) > 380
    scores = np.random.default_rng(0).standard_normal((3350, 3350)).astype(np.float32)
    rows = Scores(real, (3350, 3350), lambda: iter(np.array_split(scores, 4)), "0" * 64)
    made = audit_retrieval(rows, gallery, n_boot=50)
    assert made.doubts.ceiling[1] == pytest.approx(0.977, abs=5e-4)  # FACTS E 5.6
    known = {r.name: r.trivial["video known"] for r in made.results}
    assert known["t2v_R@1"] == pytest.approx(0.130, abs=5e-4) and known["t2v_R@5"] == pytest.approx(0.636, abs=5e-4)


def test_the_annotation_file_says_which_gallery(tmp_path):
    """MSR-VTT: the csv is 1k-A, the json the full test, several captions a video; YouCook2: csv or official json."""
    folder = made.msrvtt(made.youcook2(tmp_path))
    small, full = (
        benchmark_gallery("msrvtt", folder / f"MSRVTT_{name}") for name in ("JSFUSION_test.csv", "data.json")
    )
    assert small.shape == (2, 2) and full.shape == (6, 3) and full.item_of.tolist() == [0, 0, 1, 1, 2, 2]
    np.save(tmp_path / "s.npy", np.eye(3, dtype=np.float32)[full.item_of])
    found = audit(tmp_path / "s.npy", benchmark="msrvtt", annotations=folder / "MSRVTT_data.json")
    assert found.headline.value == 1 and found.headline.n == 6 and found.headline.protocol.captions == 2
    files = [folder / name for name in ("validation_youcook.csv", "youcookii_annotations_trainval.json")]
    assert ["json" in benchmark_gallery("youcook2", path).split for path in files] == [False, True]
    mine = files[0].with_name("validation_youcook_clean.csv")
    mine.write_text("\n".join(files[0].read_text().split("\n")[:3]))
    assert benchmark_gallery("youcook2", mine).shape == (2, 2), "the file that is given, whatever lies beside it"
    mine.write_text(mine.read_text().rstrip("\n") + "\n5,5,100,fry,v1\n")
    left = "clips left out of the annotations: 1; first: validation_youcook_clean.csv line 4, v1: zero length at 5 s"
    assert benchmark_gallery("youcook2", mine).notes == [left]


def test_another_papers_gallery_is_audited_where_its_items_are_known(files, tmp_path):
    scores, labels, path, items = files
    keep = np.sort(np.random.default_rng(2).permutation(N)[:40])
    (tmp_path / "pool.txt").write_text("".join(f"c{i}\n" for i in keep[::-1]))
    some = {name: each[keep] for name, each in labels.items()}
    told = some["group"], some["group"], some["video"], some["video"], some["recipe"]
    same(audit(path, items=items, pool=tmp_path / "pool.txt").results, retrieval.evaluate(scores[keep][:, keep], *told))
    for text in ("c0\nc999\n", "c0\nc0\n", "c0\n"):
        (tmp_path / "pool.txt").write_text(text)
        with pytest.raises(VcworkError, match=r"pool\.txt: expected item ids"):
            audit(path, items=items, pool=tmp_path / "pool.txt")


# -------------------------------------------------------------------------------------------------- bad input


def _write(tmp_path, name, array):
    np.save(tmp_path / name, array)
    return tmp_path / name


BAD = {
    "a NaN": (lambda s: np.where(np.eye(N) * s == s[3, 3], np.nan, s), "expected finite scores, got nan at row"),
    "minus infinity": (
        lambda s: np.where(s == s[3, 3], -np.inf, s),
        r"bad\.npy: expected finite scores, got -inf at row",
    ),
    "an infinity of float16": (lambda s: (s * 1e5).astype(np.float16), "float16 ends at 65,504"),
    "whole numbers": (lambda s: s.astype(int), "higher is better, got int64"),
    "truth values": (lambda s: s > 0, "got bool"),
    "a vector": (lambda s: s[0], "expected scores as texts by items"),
    "fewer items": (lambda s: s[:, :40], r"expected scores of 60 texts by 60 items, got \(60, 40\)"),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("case", BAD)
def test_bad_scores_are_refused_and_nothing_is_written(case, files, tmp_path, capsys):
    scores, _, _, items = files
    make, message = BAD[case]
    path, out = _write(tmp_path, "bad.npy", make(scores)), tmp_path / "out"
    assert main(["audit", str(path), "--items", str(items), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and "Traceback" not in said and not out.exists()


def test_swapped_missing_doubled_and_unknown_ids_are_named(files, tmp_path):
    scores, _, _, items = files
    gallery, (queries, clips) = read_gallery(items), ([f"{c}{i}" for i in range(N)] for c in "qc")

    def refused(message, **arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(VcworkError, match=message):
            aligned(open_scores(tmp_path / "x.npz"), gallery)

    refused("rows and columns are swapped", scores=scores, query_ids=clips, item_ids=queries)
    refused("query id 'q0' is there twice", scores=scores, query_ids=["q0", *queries[:-1]], item_ids=clips)
    if importlib.util.find_spec("pyarrow"):
        with pytest.raises(VcworkError, match="item id 'c0' is there twice"):
            open_scores(_as_file("parquet", tmp_path, scores, queries, ["c0", *clips[:-1]]))
    refused("expected 60 item ids, got 59", scores=scores, query_ids=queries, item_ids=clips[:-1])
    refused("1 missing .'c59'.*1 unknown .'other'", scores=scores, query_ids=queries, item_ids=[*clips[:-1], "other"])
    wide = read_gallery(write_items(tmp_path / "w.csv", {"video": list("abc")}))
    np.save(tmp_path / "s.npy", scores[:4, :3])
    with pytest.raises(VcworkError, match="expected scores of 3 texts by 3 items"):
        aligned(open_scores(tmp_path / "s.npy"), wide)
    with pytest.raises(VcworkError, match="scores must be square"):
        unknown_gallery(open_scores(tmp_path / "s.npy"))


@pytest.mark.parametrize(("lines", "message"), [
    ("text,item_id\na,c0\n", "row|texts"),
    ("text,clip\na,c0\n", "expected the columns text, item_id; missing item_id"),
    ("text,item_id,video\na,c0,v\nb,c0,w\n", "line 3: item 'c0' was told of before"),
    ("text,item_id,video,video\na,c0,v,w\n", "line 1: expected each column once, got 'video' twice"),
    ("text,item_id\na,\n", "line 2: expected an item_id"),
    ("text,item_id\na,c0,x\n", "line 2: expected 2 cells, got 3"),
    ("text,item_id,seconds\na,c0,long\n", "line 2: seconds: expected seconds"),
    ("text,item_id,query_id\na,c0,q\nb,c1,q\n", "line 3: query id 'q' comes twice"),
    ("text,item_id\n,c0\n", "no line has a text"),
])  # fmt: skip
def test_a_csv_of_items_is_read_strictly(lines, message, tmp_path):
    (tmp_path / "i.csv").write_text(lines)
    np.save(tmp_path / "s.npy", np.eye(2, dtype=np.float32))
    with pytest.raises(VcworkError, match=message):
        audit(tmp_path / "s.npy", items=tmp_path / "i.csv")


def test_files_that_are_not_what_they_say(tmp_path):
    np.save(tmp_path / "o.npy", np.array([[{}]], object), allow_pickle=True)
    (tmp_path / "t.npy").write_bytes((tmp_path / "o.npy").read_bytes()[:20])
    np.save(tmp_path / "cut.npy", np.ones((50, 50), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-100])
    (tmp_path / "z.npz").write_bytes(b"PK\3\4nothing")
    (tmp_path / "s.safetensors").write_bytes(b"\xff" * 40)
    (tmp_path / "c.csv").write_text("id,a,b\nq,1.5\n")
    (tmp_path / "r.run").write_text("q Q0 c 1 high x\n")
    (tmp_path / "n.run").write_text("q Q0 c 1 nan x\n")
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for _ in range(2):
            archive.write(tmp_path / "cut.npy", "scores.npy")
    for name in ("o.npy", "t.npy", "cut.npy", "z.npz", "d.npz", "s.safetensors", "c.csv", "r.run", "n.run", "none.npy",
                 "x.pkl"):  # fmt: skip
        with pytest.raises(VcworkError, match=name.replace(".", r"\.")):
            open_scores(tmp_path / name)


def test_an_archive_that_would_fill_memory_is_refused_by_its_headers(tmp_path):
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), np.float32)) | {"shape": (1 << 20, 1 << 20)}
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive, archive.open("scores.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(VcworkError, match="held in memory, at most 4 GB"):
        open_scores(tmp_path / "bomb.npz")


# --------------------------------------------------------------------------------------- page, bundle, command line


def test_the_command_writes_page_json_and_table_and_compares(files, tmp_path, capsys):
    scores, _, path, items = files
    worse = _write(
        tmp_path, "worse.npy", scores + np.random.default_rng(1).normal(0, 2, scores.shape).astype(np.float32)
    )
    out, bundle = tmp_path / "out", tmp_path / "b.zip"
    asked = ["audit", str(path), "--items", str(items), "--against", str(worse), "--trained-on", "nothing <b>&"]
    assert main([*asked, "--out", str(out), "--bundle", str(bundle)]) == 0
    told = json.loads((out / "audit.json").read_text())
    assert told["results"][0]["name"] == "t2v_R@1" and told["against"][0]["difference"] > 0
    page = (out / "index.html").read_text()
    assert "nothing &lt;b&gt;&amp;" in page and "http://" not in page and "https://" not in page
    assert r"t2v\_R@1 & " in (out / "table.tex").read_text()
    assert capsys.readouterr().out.count("t2v_R@1 ") >= 1
    assert main(["verify", str(out)]) == 0 and "audit: whole (3 files" in capsys.readouterr().out
    assert main(["audit", "--check", str(bundle)]) == 0
    assert "the same numbers and verdicts" in capsys.readouterr().out
    assert main([*asked, "--out", str(tmp_path / "x"), "--bundle", str(bundle)]) == 2  # never overwritten
    assert not (tmp_path / "x").exists()
    again = tmp_path / "again.zip"
    assert main([*asked, "--out", str(out), "--bundle", str(again)]) == 0
    assert again.read_bytes() == bundle.read_bytes(), "the same audit is the same bytes, whenever it is made"


def test_what_the_page_tells_of_cost_and_coverage_is_the_stored_run(root):
    stored = json.loads((root / "benchmarks" / "results" / "audit.json").read_text())
    page = " ".join((root / "docs" / "audit.md").read_text().split())
    held, cost = stored["coverage"], stored["cost"]
    assert held["benchmarks"] == 1000 and 0.93 <= held["coverage"] <= 0.97 and cost["items"] == 50_000
    assert f"Of 1,000 made benchmarks {held['coverage']:.1%} of".replace("%", " %") in page
    seconds = [cost[kind]["seconds"] for kind in ("scores", "embeddings")]
    peak = max(cost[kind]["peak_gb"] for kind in ("scores", "embeddings"))
    assert "{:.0f} s from scores, {:.0f} s from embeddings, {:.2f} GB".format(*seconds, peak) in page
    assert max(seconds) < 180 and peak < 4


def test_a_changed_bundle_is_noticed(files, tmp_path, capsys):
    scores, _, path, items = files
    bundle, changed = tmp_path / "b.zip", tmp_path / "c.zip"
    assert main(["audit", str(path), "--items", str(items), "--out", str(tmp_path / "o"), "--bundle", str(bundle)]) == 0

    def rewritten(change, **more):
        with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(changed, "w") as new:
            held = {entry.filename: change(entry.filename, old.read(entry)) for entry in old.infolist()}
            for name, data in (held | more).items():
                if data is not None:
                    new.writestr(name, data)
        return main(["audit", "--check", str(changed)])

    def resealed(change):
        def one(name, held):
            if name != "audit.json":
                return held
            told = json.loads(held)
            told.pop("sealed")
            change(told)
            return json.dumps(with_seal(told)).encode()

        return rewritten(one)

    better = np.where(np.eye(N), 9, scores).astype(np.float32)
    np.save(tmp_path / "scores.npy", better)
    data = (tmp_path / "scores.npy").read_bytes()
    assert rewritten(lambda name, held: data if name == "inputs/scores.npy" else held) == 2  # another input
    assert rewritten(lambda name, held: held.replace(b"trained on", b"trained 0n")) == 2  # another text
    for name in ("index.html", "table.tex"):
        assert rewritten(lambda n, held, name=name: held.replace(b"R@1", b"R@9") if n == name else held) == 2
        assert f"{name} was changed" in capsys.readouterr().err
    for name in ("index.html", "inputs/scores.npy"):  # taken out
        assert rewritten(lambda n, held, name=name: None if n == name else held) == 2
        assert f"{name} is missing" in capsys.readouterr().err
    assert rewritten(lambda name, held: held, evil=b"x") == 2 and "evil is surplus" in capsys.readouterr().err
    assert rewritten(lambda name, held: held) == 0
    assert resealed(lambda told: told["results"][0].update(value=0.9)) == 1  # but the inputs say something else
    assert "no digest" not in capsys.readouterr().out
    assert resealed(lambda told: told.pop("pages")) == 0 and "no digest" in capsys.readouterr().out  # as before
    for change, message in (
        (lambda told: told["inputs"].pop("items") and told["asked"].update(items=str(items)), "items.csv is surplus"),
        (lambda told: told["asked"].update(pool="/etc/hosts"), "other files than those that travel in it"),
        (lambda told: told["asked"].update(task="nope"), "argument --task: invalid choice: 'nope'"),
        (lambda told: told["asked"].update(seed=-1), "argument --seed: expected a whole number"),
        (lambda told: told["asked"].update(cosine="yes"), "argument --cosine"),
        (lambda told: told["asked"].update(trained_on=5), "trained_on"),
        (lambda told: told.update(asked="x"), "expected another structure"),
        (lambda told: told["inputs"]["items"].update(file="../items.csv"), "expected the name of a file"),
    ):
        assert resealed(change) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("names", [("a/same.npy", "b/same.npy"), ("you:cook.npy", "back\\slash.npy")])
def test_a_bundles_inputs_are_told_apart_whatever_they_are_called_and_of_what_day(names, files, tmp_path, capsys):
    scores = files[0]
    for name, held, day in zip(names, (scores, scores.T), (0, 5e9), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, held)
        os.utime(tmp_path / name, (day, day))  # zip knows 1980 to 2107
    one, other = (str(tmp_path / name) for name in names)
    bundle = str(tmp_path / "b.zip")
    assert main(["audit", one, "--against", other, "--out", str(tmp_path / "o"), "--bundle", bundle]) == 0
    assert main(["audit", "--check", bundle]) == 0
    assert "the same numbers and verdicts" in capsys.readouterr().out


def test_an_audits_folder_is_not_somebody_elses(files, tmp_path):
    _, _, path, _ = files
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    assert main(["audit", str(path), "--out", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"


def test_of_two_audits_at_once_in_one_folder_one_waits(files, tmp_path, monkeypatch, capsys):
    """Else the manifest of one seals the page of the other."""
    _, _, path, items = files
    made = [audit(each, items=items) for each in (path, shutil.copy(path, tmp_path / "other.npy"))]
    for name in ("page_html", "tex_table"):
        monkeypatch.setattr(audit_page, name, lambda made: made.path.name)
    seal = audit_page.seal
    slow = lambda file: time.sleep(1.2 * (threading.current_thread().name == "scores.npy")) or seal(file)  # noqa: E731
    monkeypatch.setattr(audit_page, "seal", slow)
    out = tmp_path / "out"
    write = lambda each: audit_page.write_audit(each, out, {"scores": each.path.name})  # noqa: E731
    both = [threading.Thread(target=write, args=(each,), name=each.path.name) for each in made]
    for thread in both:
        thread.start()
        time.sleep(0.2)
    for thread in both:
        thread.join()
    told = json.loads((out / "audit.json").read_text())["asked"]["scores"]
    assert told == "other.npy" == (out / "index.html").read_text() == (out / "table.tex").read_text()
    assert "another process is at work" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- other tasks


def same(found, wanted):
    assert [r.name for r in found] == [r.name for r in wanted]
    for here, there in zip(found, wanted, strict=True):
        values = [(r.value, r.low, r.high, r.chance) for r in (here, there)]
        assert values[0] == pytest.approx(values[1], abs=1e-9), here.name
        assert here.trivial == pytest.approx(there.trivial)


def test_choices_are_scored_as_the_task_does(tmp_path):
    rng = np.random.default_rng(0)
    scores, answers, videos = rng.random((40, 4)), rng.integers(0, 4, 40), [f"v{i // 2}" for i in range(40)]
    np.save(tmp_path / "s.npy", scores)
    texts = [["a" * int(n) for n in rng.integers(1, 9, 4)] for _ in range(40)]
    with (tmp_path / "q.csv").open("w") as file:
        file.write("answer,video,choice_0,choice_1,choice_2,choice_3\n")
        file.writelines(f"{a},{v},{','.join(t)}\n" for a, v, t in zip(answers, videos, texts, strict=True))
    made = audit(tmp_path / "s.npy", task="qa", items=tmp_path / "q.csv", against=tmp_path / "s.npy")
    lengths = np.array([[len(text) for text in each] for each in texts], float)
    same(made.results, videoqa.evaluate(scores, answers, videos, {"longest caption": lengths}))
    assert made.against[0][2].difference == 0 and made.against[0][3] == 1
    mixed = rng.permutation(40)
    np.savez(tmp_path / "mixed.npz", scores=scores[mixed][:, ::-1], query_ids=mixed, item_ids=[3, 2, 1, 0])
    same(audit(tmp_path / "mixed.npz", task="qa", items=tmp_path / "q.csv").results, made.results)
    np.save(tmp_path / "few.npy", scores[:39])
    with pytest.raises(VcworkError, match=r"few\.npy: expected scores of 40 questions"):
        audit(tmp_path / "few.npy", task="qa", items=tmp_path / "q.csv")
    (tmp_path / "twice.csv").write_text("answer,video,choice_0,choice_0\n0,a,b,c\n")
    refused(
        "each column once, got 'choice_0' twice", audit, tmp_path / "s.npy", task="qa", items=tmp_path / "twice.csv"
    )
    (tmp_path / "far.csv").write_text("answer,video\n0,a\n" + "9,a\n" * (len(scores) - 1))
    with pytest.raises(VcworkError, match=r"far\.csv: question 2: expected an answer from 0 to \d, .* got 9"):
        audit(tmp_path / "s.npy", task="qa", items=tmp_path / "far.csv")


def test_labels_a_second_are_scored_as_the_task_does(tmp_path):
    rng = np.random.default_rng(0)
    truth = {f"v{i}": rng.integers(0, 4, 20 + i) for i in range(6)}
    said = {id: np.where(rng.random(len(t)) < 0.6, t, 0) for id, t in truth.items()}
    np.savez(tmp_path / "truth.npz", **truth)
    (tmp_path / "said.json").write_text(json.dumps({id: labels.tolist() for id, labels in said.items()}))
    made = audit(tmp_path / "said.json", task="segmentation", items=tmp_path / "truth.npz")
    same(made.results, segmentation.evaluate_labels([*said.values()], [*truth.values()], [*truth]))
    for change, message in (
        ({"v0": None}, "1 missing .'v0'"), ({"w": said["v1"]}, "1 unknown .'w'"),
        ({"v1": said["v1"][:-1]}, "v1: expected"), ({"v2": said["v2"] * 0.5}, "whole numbers"),
        ({"v3": said["v3"] - 1}, "labels from 0"),
    ):  # fmt: skip
        other = {id: labels for id, labels in (said | change).items() if labels is not None}
        np.savez(tmp_path / "other.npz", **other)
        with pytest.raises(VcworkError, match=f"other.npz.*{message}"):
            audit(tmp_path / "other.npz", task="segmentation", items=tmp_path / "truth.npz")


def test_labels_of_coin_are_its_own_ids(tmp_path):
    """Not places among those that occur, as text 10, 7, 8, 9; of the very file that is given."""
    folder, mine = made.coin(tmp_path), tmp_path / "COIN_mine.json"
    mine.write_text((folder / "COIN.json").read_text().replace('"c7"', '"mine"'))
    said = {"c6": np.zeros(45, int), "mine": np.zeros(45, int)}
    for id, first, second in (("c6", 7, 8), ("mine", 9, 10)):
        said[id][5:16], said[id][25:36] = first, second
    asked = {"task": "segmentation", "benchmark": "coin", "annotations": mine}
    np.savez(tmp_path / "said.npz", **said)
    found = audit(tmp_path / "said.npz", **asked)
    assert found.headline.value == 1 and "1 to 778, and 0 for background" in found.notes[0]
    np.savez(tmp_path / "far.npz", **(said | {"c6": said["c6"] + 800}))
    with pytest.raises(VcworkError, match=r"far\.npz: c6: expected labels up to 778, got 808"):
        audit(tmp_path / "far.npz", **asked)
    np.savez(tmp_path / "wide.npz", **{id: np.zeros((45, 779)) for id in said})
    with pytest.raises(VcworkError, match=r"same steps in all videos, 10 to 778, got \[779\]"):
        audit(tmp_path / "wide.npz", **asked, gamma=0.5)


def test_steps_in_order_are_scored_as_the_task_does(tmp_path):
    rng = np.random.default_rng(0)
    told = {f"v{i}": {"task": f"t{i % 2}", "intervals": [[[2, 5]], [], [[7.5, 9], [11, 12]]]} for i in range(6)}
    scores = {id: rng.random((15, 3)) for id in told}
    np.savez(tmp_path / "s.npz", **scores)
    (tmp_path / "t.json").write_text(json.dumps(told))
    made = audit(tmp_path / "s.npz", task="localization", items=tmp_path / "t.json", against=tmp_path / "s.npz")
    cases = [localization.Case(scores[id], each["intervals"], id, each["task"]) for id, each in told.items()]
    same(made.results, localization.evaluate(cases))
    assert made.against[0][1] == pytest.approx({r.name: r.value for r in made.results}["recall_micro"])
    told["v0"]["intervals"].append([])
    (tmp_path / "t.json").write_text(json.dumps(told))
    with pytest.raises(VcworkError, match=r"v0: expected scores \(T, 4 steps\), got \(15, 3\)"):
        audit(tmp_path / "s.npz", task="localization", items=tmp_path / "t.json")


QV = [{"qid": i, "query": "cuts", "vid": f"v{i // 2}", "duration": 150, "relevant_windows": [[10 * i, 10 * i + 20]]}
      for i in range(8)]  # fmt: skip


def test_spans_are_read_and_scored_as_published(tmp_path):
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, QV)))
    rows = [{"qid": q["qid"], "pred_relevant_windows": [[0, 5, 0.1], [*q["relevant_windows"][0], 0.9]]} for q in QV]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = audit(
        tmp_path / "p.jsonl", task="moments", benchmark="qvhighlights", annotations=tmp_path / "val.jsonl",
        against=tmp_path / "p.jsonl",
    )  # fmt: skip
    assert [round(r.value, 9) for r in made.results] == [1, 1, 1, 1]  # the right span has the higher score
    assert made.results[0].trivial["whole video"] == 0
    (tmp_path / "c.txt").write_text("V1 0.0 10.0##a cat sits.\nV1 4.0 8.0##it goes.\nV2 1.0 2.0##a dog.\n")
    (tmp_path / "c.csv").write_text("query_id,start_s,end_s,score\n0,0,7,1\n1,4,8,1\n2,0,1,1\n")
    made = audit(tmp_path / "c.csv", task="moments", benchmark="charades", annotations=tmp_path / "c.txt")
    assert made.results[0].value == pytest.approx(2 / 3) and made.results[1].value == pytest.approx(2 / 3)
    assert "no lengths of videos" in made.notes[0]


def test_lines_of_spans_end_where_the_file_ends_them(tmp_path):
    """Not at what Unicode calls a line; spans of no length are told, predictions known by .CSV, too."""
    (tmp_path / "t.txt").write_text("V 1 3##a person\u2028turns\x85on\x0ca light\nV 30 30##b\nV 1_0 2##c\n")
    refused(r"line 3: video V: start: expected seconds, got '1_0'", read_charades, tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("V 1 3##a person\u2028turns\x85on\x0ca light\nV 30 30##b\n")
    found = read_charades(tmp_path / "t.txt")
    assert [each.video for each in found.sentences] == ["V", "V"]
    assert "true spans of no length, which no prediction meets: 1" in found.notes
    (tmp_path / "p.CSV").write_text("query_id,start_s,end_s,score\n0,0,7,1\n")
    assert read_predicted(tmp_path / "p.CSV")["0"].tolist() == [[0, 7]]


def test_hirest_is_read_and_scored_as_published(tmp_path):
    folder = made.hirest(tmp_path)
    val = {"benchmark": "hirest", "annotations": folder / "all_data_val.json"}
    ranked = {"Make Tea": (["a.mp4", "x.mp4", "b.mp4"], [0.5, 0.9, 0.4]), "Use a Grill": (["c.mp4", "a.mp4"], [2, 1.5]),
              "Sew a Bag": (["y.mp4", "d.mp4"], [0.2, 0.1])}  # fmt: skip
    told = {query: {"videos": videos, "scores": scores} for query, (videos, scores) in ranked.items()}
    made.write_json(tmp_path / "r.json", told)
    found = audit(tmp_path / "r.json", **val)
    assert found.headline.value == pytest.approx(1 / 3) and found.headline.protocol.pool == 6
    assert found.headline.n == 3 and "2 items are in the scores alone" in found.notes[0]
    assert "queries, gallery fixed" in str(found.headline.protocol)
    moments = {"Make Tea": {"a.mp4": {"bounds": [10, 34]}}, "Use a Grill": {"c.mp4": {"bounds": [20, 60]}},
               "Sew a Bag": {"d.mp4": {"bounds": [0, 60]}}}  # fmt: skip
    found = audit(made.write_json(tmp_path / "m.json", moments), task="moments", **val)
    assert [r.value for r in found.results[:2]] == pytest.approx([2 / 3, 2 / 3])  # 40 of 56 s, and 24 of 60
    steps = {"a.mp4": {"bounds": [[10, 18], [20, 34]]}, "d.mp4": {"bounds": [[10, 19], [18, 26], [26, 34]]}}
    found = audit(made.write_json(tmp_path / "s.json", steps), task="boundaries", **val)
    values = {r.name: r.value for r in found.results}
    assert values["recall@0.5"] == pytest.approx((2 / 4 + 1) / 2)  # [26, 34] has 8 of 14 s, the step of no length none
    assert values["precision@0.7"] == pytest.approx((1 / 2 + 1) / 2) and "equal parts" in found.headline.trivial
    found = audit(tmp_path / "s.json", task="boundaries", benchmark="hirest", annotations=folder / "evaluation.json")
    assert {r.name: r.value for r in found.results}["recall@0.5"] == pytest.approx((2 / 2 + 0) / 2)
    withheld = json.loads((folder / "all_data_val.json").read_text())
    for videos in withheld.values():
        for each in videos.values():
            each |= {"bounds": [0, 1], "steps": []}
    made.write_json(folder / "all_data_val.json", withheld)
    with pytest.raises(VcworkError, match="the published test withholds them"):
        audit(tmp_path / "m.json", task="moments", **val)
    with pytest.raises(VcworkError, match="holds no moments"):
        audit(tmp_path / "s.json", task="boundaries", **val)


def test_average_precision_counts_each_true_span_once():
    truth = np.array([[0.0, 10.0], [20.0, 30.0]])
    case = spans.Case(np.array([[0.0, 10.0], [0.0, 10.0], [20.0, 30.0]]), truth, "v", 40.0)
    assert spans.scored([case])[0, 3] == pytest.approx((1 + 2 / 3) / 2)  # precision 1 at half recall, 2/3 at whole


@pytest.mark.parametrize(("name", "text", "message"), [
    ("qvhighlights", '{"qid": 1}', "line 1: 'query' is missing"),
    ("qvhighlights", "{", "line 1: not readable as JSON"),
    ("qvhighlights", '{"qid": 1, "qid": 2}', r"line 1: not readable as JSON \('qid' is given twice in one object\)"),
    ("qvhighlights", json.dumps(QV[0]) + "\n" + json.dumps(QV[0]), "line 2: .*qid 0 comes twice"),
    ("qvhighlights", json.dumps(QV[0] | {"relevant_windows": [[200, 210]]}), "within the video's 150 s"),
    ("charades", "V1 0.0 10.0 a cat", "line 1: expected `VIDEO START END##SENTENCE`"),
    ("charades", "V1 5.0 1.0##a cat", "ends before it starts"),
    ("", "query_id,video,start_s,end_s,duration_s\na,v,0,1,9\na,w,0,1,9\n", "line 3: .*expected one video"),
    ("", "query_id,video,start_s,end_s,duration_s\n0,v,0,1000,9\n", "line 2: .*within the video's 9 s"),
    ("", "query_id,video,start_s,end_s,duration_s\n0,v,7,1,9\n", "line 2: .*within the video's 9 s"),
])  # fmt: skip
def test_annotations_of_spans_are_read_strictly(name, text, message, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    (tmp_path / "p.csv").write_text("query_id,start_s,end_s,score\n0,0,7,1\n")
    given = {"benchmark": name, "annotations": tmp_path / "t.txt"} if name else {"items": tmp_path / "t.txt"}
    with pytest.raises(VcworkError, match=message):
        audit(tmp_path / "p.csv", task="moments", **given)


def test_published_annotations_of_the_other_tasks(real, tmp_path):
    folder = real / "annotations"
    coin = read_annotations(folder).coin
    tested = [
        (id, np.zeros(len(t), int)) for id, t, fit in zip(coin.ids, truths(coin), coin.training, strict=True) if not fit
    ]
    np.savez(tmp_path / "silent.npz", **dict(tested))
    made = audit(tmp_path / "silent.npz", task="segmentation", benchmark="coin", annotations=folder)
    assert made.headline.value == made.headline.trivial["all background"] > 0.5
    assert "level with" in made.verdicts[0]
