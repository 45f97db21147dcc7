"""A policy that learns wishes: warm start, RL and the protocol of simulated wishes, each for real and short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from deeprec.audit.prompts import prompt_leaks
from deeprec.config import load_config, override_config
from deeprec.data.format import read_dataset
from deeprec.data.stage import run_data
from deeprec.disk import read_jsonl
from deeprec.errors import EvaluationError
from deeprec.evaluation.wishes import MISLEADING, MIXTURE, evaluate_wishes, wish_table
from deeprec.evaluation.wishes_picture import wishes_picture
from deeprec.methods import TRM, TRM_MEANT, TRM_WISH, TRM_WISH_RULE
from deeprec.pipeline import build_deeprec, build_recommenders, build_wishing
from deeprec.policy.loading import load_policy
from deeprec.rl import wish_scripts
from deeprec.rl.stage import run_rl
from deeprec.rl.warm_start import run_warm_start, stage_inputs
from deeprec.rollout.list_prior import WISHED_KEY, prior_of
from deeprec.rollout.protocol import wishes_in
from deeprec.run import Run
from deeprec.stages import COLD_START, WARM_START
from deeprec.trm.stage import load_trm, run_trm
from deeprec.wishes.forms import KINDS
from deeprec.wishes.words import title_words, words

SETTINGS = (
    "data.synthetic.users=60",
    "data.synthetic.items=24",
    "data.synthetic.interactions_per_user=12",
    "trm.width=16",
    "trm.text_dim=16",
    "trm.epochs=2",
    "trm.preference_steps=60",
    "policy.width=48",
    "policy.heads=2",
    "policy.key_value_heads=1",
    "policy.inner=64",
    "policy.pieces=400",
    "policy.context=512",
    "warm_start.reading_epochs=1",
    "warm_start.script_steps=120",
    "warm_start.trajectories_per_step=8",
    "warm_start.learning_rate=1e-2",
    "rollout.list=masked",
    "rollout.history=3",
    "rollout.retrieved=3",
    "rollout.recommended=3",
    "rollout.segment_tokens=40",
    "rollout.response_tokens=240",
    "rl.users_per_step=4",
    "rl.rollouts_per_user=4",
    "rl.trajectories_per_pass=8",
    "rl.cold_start.steps=2",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Up to stage 1, with half of everything wished for."""
    made = Run.create(
        tmp_path_factory.mktemp("wishes") / "run", load_config(overrides=(*SETTINGS, "wishes.share=0.5"))
    )
    dataset = run_data(made)
    trm = run_trm(made, dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wish_scripts, "STEPS", 1)  # nobody here has to understand much
        run_warm_start(made, dataset, trm)
        run_rl(made, dataset, trm, COLD_START)
        yield made


def test_training_hears_wishes_and_no_prompt_gives_its_target_away(run: Run) -> None:
    dataset = read_dataset(run.data)
    records = read_jsonl(run.trajectories)
    said = [(record, wish) for record in records for wish in wishes_in(record["prompt"])]
    assert 0 < len(said) < len(records)
    for record, wish in said:
        assert not words(wish) & title_words(dataset.catalog[record["target"]])
        assert prompt_leaks(record["prompt"], record["user_id"], record["target"], dataset) == []
    assert any("loss/wishes" in row for row in read_jsonl(run.metrics))


def test_a_wish_that_names_its_target_is_a_leak(run: Run) -> None:
    dataset = read_dataset(run.data)
    example = dataset.examples("rl")[0]
    title = sorted(title_words(dataset.catalog[example.target]))[0]
    leaks = prompt_leaks(f"History\nWish: like {title}\n<think>\n", example.user_id, example.target, dataset)
    assert len(leaks) == 1
    assert "as its target" in leaks[0]


def test_lists_of_who_wishes_have_weights_of_their_own(run: Run) -> None:
    model = load_policy(str(run.policy(WARM_START)), run.config.policy).model
    assert getattr(model.config, WISHED_KEY) == asdict(prior_of(model, wished=True))
    # They are chosen apart: those of everybody else stay what they are without.
    delattr(model.config, WISHED_KEY)
    assert prior_of(model, wished=True) == prior_of(model)


def test_the_protocol_ranks_every_method_on_the_same_wishes(run: Run) -> None:
    dataset = read_dataset(run.data)
    trm = load_trm(run, dataset)
    methods = build_wishing(run, dataset, trm)
    assert {TRM, TRM_WISH, TRM_WISH_RULE} < set(methods)
    assert {f"{COLD_START}{ending}" for ending in ("", "@wish", "@once")} < set(methods)
    found = evaluate_wishes(methods, dataset, trm, "validation", k=3, users=12, resamples=50)
    by = {(one.method, one.kind): one for one in found}
    kinds = {one.kind for one in found}
    assert kinds <= {*KINDS, MIXTURE, MISLEADING}
    assert {"category", "exclusion", MIXTURE, MISLEADING} <= kinds
    assert by[TRM_MEANT, "exclusion"].broken == 0.0
    assert by[TRM_MEANT, MIXTURE].ndcg.mean > by[TRM, MIXTURE].ndcg.mean
    # Who is not told can't tell kinds apart: everybody can name a category and a decade.
    assert by[TRM, "category"].users == by[TRM, "decade"].users == 12
    assert by[TRM, "category"].ndcg == by[TRM, "decade"].ndcg
    table = wish_table(found, dataset, "validation", users=12, k=3, command="deeprec evaluate --wishes")
    assert table.note.startswith("Protocol: simulated wish")
    assert "simulated" in table.title.lower()
    picture = fromstring(wishes_picture(found, "figures of <methods>"))
    assert picture.get("aria-label") == "figures of <methods>"
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert kinds <= set(texts)
    signs = [
        one for kind in ("circle", "rect") for one in picture.iter(f"{{http://www.w3.org/2000/svg}}{kind}")
    ]
    assert len(signs) == len(found) + len({one.method for one in found})


def test_the_two_protocols_share_no_method_that_hears(run: Run) -> None:
    with pytest.raises(EvaluationError, match="unknown method 'trm-wish'"):
        build_recommenders(run, [TRM_WISH])


def test_how_far_a_wish_is_followed_is_a_setting(run: Run) -> None:
    dataset = read_dataset(run.data)
    trm = load_trm(run, dataset)
    examples = [replace(example, wish="comedy") for example in dataset.examples("validation")[:20]]
    answers = []
    for weight in (0.0, 50.0):
        config = override_config(run.config, [f"wishes.weight={weight}"])
        answers.append(
            build_deeprec(Run(run.folder, config), dataset, trm, WARM_START).recommend(examples, 3)
        )
    draws = [
        (weak.trajectory.draw, strong.trajectory.draw)
        for weak, strong in zip(*answers, strict=True)
        if weak.trajectory and strong.trajectory and weak.trajectory.draw and strong.trajectory.draw
    ]
    assert draws  # what is said is the same: it is the list that weighs it
    for weak, strong in draws:
        assert weak.pool == strong.pool
        assert np.ptp(strong.prior) >= np.ptp(weak.prior)
    # What was asked may fit all items of a pool alike; not of every pool.
    assert any(np.ptp(strong.prior) > np.ptp(weak.prior) for weak, strong in draws)


def test_nothing_is_made_again_for_who_wants_no_wishes() -> None:
    plain = load_config(overrides=SETTINGS)
    for change in ("wishes.misleading=0.5", "wishes.weight=2"):
        other = override_config(plain, [change])
        assert stage_inputs(other, "trm").fingerprint == stage_inputs(plain, "trm").fingerprint
    assert "wishes" not in str(plain.identity(WARM_START))
