"""Settings of a run: one frozen model per stage. `config.py` reads them; rivals and service have theirs apart.

`docs/reference/config.md` is generated from the field descriptions.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import Field

from deeprec.rivals.settings import RivalsConfig
from deeprec.section import Fraction, Positive, Section, Seed
from deeprec.serve.settings import ServeConfig

Ranking = Literal["generate", "score", "constrained", "retrieved", "reranked"]


class SyntheticConfig(Section):
    """Simulated catalogue and users (source `synthetic`)."""

    seed: Seed = Field(0, description="Seed of the simulation; the run's own seed leaves the data alone.")
    users: Positive = Field(800, description="Number of simulated users.")
    items: Positive = Field(500, description="Number of simulated items.")
    genres: Positive = Field(12, description="Number of genres that items and tastes are made of.")
    interactions_per_user: Positive = Field(30, description="Mean number of interactions of a user.")
    noise: Fraction = Field(0.1, description="Share of interactions drawn without regard to taste.")
    drift: float = Field(0.1, ge=0, description="How far a taste wanders with every interaction.")
    sequels: float = Field(3.0, ge=0, description="How much the next part of a series attracts.")


class DataConfig(Section):
    """What is read, how it is cut by time, and what the prompt may show."""

    name: str = Field("synthetic", description="Data set: a known name, or `table` for your own files.")
    source: str | None = Field(None, description="Path of the source; none: download, or simulate.")
    items: str | None = Field(None, description="For `table`: path of the item file.")
    users: str | None = Field(None, description="For `table`: path of the user file, if there is one.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="For `table`: our column name = yours, e.g. {user_id = 'customer', title = 'name'}.",
    )
    category_separator: str = Field("|", description="For `table`: what separates categories in one cell.")
    min_user_interactions: Positive = Field(5, description="Users with fewer interactions are dropped.")
    min_item_interactions: Positive = Field(1, description="Items with fewer interactions are dropped.")
    rl_targets: int = Field(3, ge=0, description="Interactions per user held back as RL targets, at most.")
    script_targets: int = Field(
        0,
        ge=0,
        description="Interactions per user before those, held back from the TRM for warm-start scripts, at most.",
    )
    rl_users: Positive | None = Field(
        None, description="Only this many users have RL and script targets; the others' stay in the fit part."
    )
    split: Literal["leave-one-out", "time"] = Field(
        "leave-one-out",
        description="Each user's last interactions are held out (`leave-one-out`), or nothing after a time that "
        "holds for everyone is seen by anything (`time`).",
    )
    time_cuts: tuple[date, date, date] | None = Field(
        None,
        description="For `time`: the days (UTC) from which RL, validation and test begin; none: by the shares.",
    )
    rl_share: Fraction = Field(
        0.1, description="For `time`: share of interactions in the window of RL targets."
    )
    validation_share: Fraction = Field(0.1, description="For `time`: the same for validation.")
    test_share: Fraction = Field(0.1, description="For `time`: the same for test, the latest ones.")
    pseudonyms: bool = Field(
        False,
        description="Whether titles are replaced by made-up ones (years and categories stay): what is left of a "
        "result doesn't come from knowing the titles.",
    )
    allow_repeats: bool = Field(False, description="Whether an item of the history may be recommended again.")
    unknown_items: Literal["refuse", "drop"] = Field(
        "refuse", description="Interactions with items that the item file lacks: an error, or left out."
    )
    order: Literal["time", "source"] = Field(
        "time",
        description="Sort each user by time, or trust the file's order (going back in time is an error).",
    )
    synthetic: SyntheticConfig = SyntheticConfig()


class TRMConfig(Section):
    """The preference-aware traditional recommendation model."""

    kind: str = Field(
        "deeprec",
        description="`deeprec` (our network), `published-fusion`, `popularity`, `item-knn`, `vectors`, or yours: "
        "`package.module:factory`.",
    )
    vectors: str | None = Field(
        None, description="For `vectors`: folder of `items.parquet` and, if you have it, `users.parquet`."
    )
    seed: Seed | None = Field(
        None, description="Seed of the fit; none: the run's. Runs of several policy seeds can share a TRM."
    )
    steer: float = Field(
        1.0,
        ge=0,
        description="Weight of a preference's text for kinds that read none (0: your retriever reads preferences).",
    )
    approximate_from: Positive = Field(
        250_000, description="Catalogue size from which retrieval is approximate, if faiss is installed."
    )
    text_encoder: str = Field("lsa", description="`lsa`, or a sentence-transformers model by name or path.")
    text_dim: Positive = Field(128, description="Width of `lsa` embeddings (other encoders have their own).")
    preference_instruction: str = Field("", description="Text put before a preference when it is embedded.")
    width: Positive = Field(64, description="Width of the sequential encoder and of item vectors.")
    layers: Positive = Field(2, description="Transformer layers.")
    heads: Positive = Field(2, description="Attention heads.")
    inner: Positive = Field(256, description="Width of the feed-forward layer.")
    experts: Positive = Field(
        1, description="Linear experts of the text adaptor (1: a plain projection; published: 8)."
    )
    dropout: Fraction = Field(0.3, description="Dropout rate.")
    history: Positive = Field(50, description="Latest items that the encoder reads.")
    id_dropout: Fraction = Field(
        0.1, description="Share of items that a training step sees by their text alone."
    )
    weight_average: Fraction = Field(
        0.999, description="Memory of the running mean of the weights, per step (0: the weights themselves)."
    )
    periods_per_year: Literal[0, 1, 2, 4, 12] = Field(
        4,
        description="Parts of a year that a preference's month (`2014-05`) is told apart by; 0: it says nothing.",
    )
    match_width: Positive = Field(64, description="Width of the space where preferences meet item texts.")
    preference_steps: int = Field(
        400, ge=0, description="Steps that train the preference branch (0: the texts' own similarity)."
    )
    preference_learning_rate: float = Field(
        6e-3, gt=0, description="Peak learning rate of the preference branch."
    )
    preference_noise: Fraction = Field(
        0.4,
        description="Share of its questions that are about another item, the same user's or anybody's.",
    )
    text_only_share: Fraction = Field(0.1, description="Share of its questions that have no history.")
    validation_users: Positive = Field(
        5000, description="Validation examples that early stopping looks at, at most."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak AdamW learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay.")
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(3, description="Epochs without a better validation NDCG@10 before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Items of histories in one optimizer step at most, padding included."
    )
    precision: Literal["auto", "float32"] = Field(
        "auto",
        description="`auto`: bfloat16 where the processor multiplies it natively; `float32`: always exact.",
    )
    max_minutes: float | None = Field(None, gt=0, description="Stop after this time, keeping the best epoch.")


class RolloutConfig(Section):
    """The protocol: what is shown, what is sampled, and every cap."""

    template: Literal["full", "compact"] = Field(
        "compact", description="Prompt: `full` instructs a pretrained LLM, `compact` suits the tiny policy."
    )
    prompt_fields: tuple[Literal["categories", "year", "rating", "date", "profile"], ...] = Field(
        (), description="What the prompt shows besides titles."
    )
    list_fields: tuple[Literal["categories", "year"], ...] = Field(
        (), description="What a retrieved item shows besides its title."
    )
    now: bool = Field(
        False, description="Whether the wish `now` stands for the month of the user's latest interaction."
    )
    history: Positive = Field(20, description="Latest items shown to the policy.")
    retrieved: Positive = Field(20, description="Items per retrieval (k).")
    recommended: Positive = Field(10, description="Items in the final list (K).")
    answer: Literal["written", "retrieved", "reranked"] = Field(
        "written",
        description="The final list, in training as in use: the policy writes it, or it is the TRM's answer to the "
        "last wish (`retrieved`), or all that was retrieved by the TRM's and the policy's probabilities together "
        "(`reranked`).",
    )
    reranker_weight: float = Field(
        1.0,
        ge=0,
        description="`reranked`: weight of the policy's log-likelihood of a title after the history, beside the "
        "TRM's log-probability of the item among those that it retrieved.",
    )
    reranker_history: Positive = Field(
        50, description="`reranked`: latest items of the history that the policy reads for that."
    )
    max_retrievals: Positive = Field(8, description="Retrievals per trajectory at most.")
    segment_tokens: Positive = Field(2048, description="New tokens per segment at most.")
    response_tokens: Positive = Field(
        16384, description="Tokens of a whole response at most, lists included."
    )
    new_items_only: bool = Field(False, description="Leave out items that an earlier turn retrieved.")
    temperature: float = Field(
        1.0, ge=0, description="Sampling temperature in training; evaluation is greedy."
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus sampling in training.")
    users_per_batch: Positive = Field(128, description="Episodes stepped together by the local engine.")

    def identity(self) -> dict[str, Any]:
        """What weights depend on; the reranker's settings only where it is on, so that older runs stay current."""
        unused = set() if self.answer == "reranked" else {"reranker_weight", "reranker_history"}
        return self.model_dump(exclude=unused)


class EngineConfig(Section):
    """What generates the policy's tokens."""

    kind: Literal["local", "vllm"] = Field(
        "local",
        description="`local`: the policy itself, on CPU or GPU; `vllm` (extra `vllm`): a copy in vLLM, for GPUs.",
    )
    vllm_memory: float = Field(
        0.3,
        gt=0,
        le=1,
        description="For `vllm`: share of the GPU's memory for its copy of the weights and its cache.",
    )


class PolicyConfig(Section):
    """The language model."""

    model: str = Field("tiny", description="`tiny`, or a Hugging Face causal LM by name or path.")
    width: Positive = Field(96, description="Tiny: hidden width.")
    layers: Positive = Field(2, description="Tiny: layers.")
    heads: Positive = Field(8, description="Tiny: attention heads.")
    key_value_heads: Positive = Field(4, description="Tiny: key-value heads.")
    inner: Positive = Field(192, description="Tiny: width of the feed-forward layer.")
    title_vectors: bool = Field(
        False, description="Tiny: a title's embedding starts as the TRM's vector of the item."
    )
    pieces: Positive = Field(1000, description="Tiny: sub-word pieces for free text, besides whole titles.")
    context: Positive = Field(2048, description="Tiny: context length in tokens.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    lora_rank: int = Field(0, ge=0, description="Rank of LoRA adapters; 0 trains all weights.")


class WarmStartConfig(Section):
    """Supervised start for a policy that can't speak the format yet."""

    enabled: bool = Field(True, description="Off for a policy that already speaks the format.")
    reading_epochs: int = Field(
        0,
        ge=0,
        description="Tiny: epochs of next-title prediction on fit histories before anything else, at most; it stops "
        "as soon as validation NDCG@10 no longer rises. For `rollout.answer = reranked`.",
    )
    reading_minutes: float | None = Field(
        None, gt=0, description="Tiny: no such epoch begins after so many minutes."
    )
    text_epochs: int = Field(
        2,
        ge=0,
        description="Epochs over fit histories (and facts) as text, mixed into the scripts: as prompts show them, or "
        "with `rollout.answer = reranked` as the reranker reads them.",
    )
    facts: bool = Field(True, description="Whether those texts hold a line of facts about every item.")
    script_steps: int = Field(450, ge=0, description="Optimizer steps on scripted trajectories.")
    trajectories_per_step: Positive = Field(16, description="Scripted trajectories per optimizer step.")
    learning_rate: float = Field(4e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")

    @property
    def reads(self) -> bool:
        """Whether the policy reads histories first, and leaves what it was then for reranking."""
        return self.enabled and self.reading_epochs > 0

    def identity(self) -> dict[str, Any]:
        """What the policy depends on; reading only where there is some, so that older runs stay current."""
        unused = set() if self.reads else {"reading_epochs", "reading_minutes"}
        return self.model_dump(exclude=unused)


class SelectionConfig(Section):
    """Which RL examples are worth training on (difficulty, paper: data selection)."""

    max_rank: Positive = Field(100, description="Targets that the TRM ranks below this are discarded.")
    stage_one_share: Fraction = Field(0.2, description="Share of the selected examples kept for stage 1.")


class StageConfig(Section):
    """One RL stage: how long, and what each reward part weighs."""

    steps: int = Field(20, ge=0, description="Iterations: each samples users_per_step x rollouts_per_user.")
    learning_rate: float | None = Field(None, gt=0, description="Overrides rl.learning_rate in this stage.")
    weights: dict[str, float] = Field(
        default_factory=dict, description="Weight of every reward part in use; parts left out weigh nothing."
    )


class ColdStartConfig(StageConfig):
    """Stage 1: the policy learns to talk to the TRM; process rewards only."""

    weights: dict[str, float] = Field(
        default={"format": 1.0, "invocation": 1.0, "diversity": 1.0},
        description="Weight of every reward part in use; parts left out weigh nothing.",
    )


class RecommendationConfig(StageConfig):
    """Stage 2: the policy learns to recommend; recommendation format and outcome rewards only."""

    steps: int = Field(80, ge=0, description="Iterations: each samples users_per_step x rollouts_per_user.")
    weights: dict[str, float] = Field(
        default={"list_format": 1.0, "hit": 1.0, "rank": 1.0, "similarity": 1.0},
        description="Weight of every reward part in use; parts left out weigh nothing.",
    )


class RLConfig(Section):
    """Two-stage REINFORCE++ with a group-mean baseline, run by TRL."""

    users_per_step: Positive = Field(32, description="Prompts per iteration (published: 128).")
    rollouts_per_user: int = Field(8, ge=2, description="Trajectories per prompt: a group.")
    credit: Literal["trajectory", "step"] = Field(
        "trajectory",
        description="A trajectory's reward counts for all its tokens (published), or each turn and list line "
        "gets what is earned from there on.",
    )
    updates_per_step: Positive = Field(1, description="Optimizer batches per iteration (published: 2).")
    learning_rate: float = Field(1e-4, gt=0, description="Constant learning rate (published: 1e-6).")
    clip_low: float = Field(0.2, gt=0, description="PPO clipping below.")
    clip_high: float = Field(0.28, gt=0, description="PPO clipping above.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    adam_beta2: float = Field(
        0.95, gt=0, lt=1, description="Adam's memory of squared gradients (published: 0.95)."
    )
    trajectories_per_pass: Positive = Field(
        16, description="Trajectories in one forward and backward pass at most: bounds memory, not results."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    autocast: bool = Field(
        False,
        description="Compute in bfloat16 around float32 weights: as fast, and small updates are not rounded away.",
    )
    save_every: Positive = Field(10, description="Iterations between checkpoints.")
    evaluate_every: Positive = Field(20, description="Iterations between held-out evaluations.")
    evaluate_users: Positive = Field(128, description="Validation users in such an evaluation.")
    collapse_steps: Positive = Field(
        10, description="Stop when one of the following holds in this many iterations in a row."
    )
    collapse_validity: Fraction = Field(
        0.05, description="Collapsed: a smaller share of the trajectories is valid (0: never)."
    )
    collapse_entropy: float = Field(
        0.01, ge=0, description="Collapsed: less entropy than this, in nats per sampled token (0: never)."
    )
    collapse_repetition: Fraction = Field(
        0.5,
        description="Collapsed: a larger share of the sampled 4-grams repeats the same trajectory (1: never).",
    )
    cold_start: ColdStartConfig = ColdStartConfig()
    recommendation: RecommendationConfig = RecommendationConfig()


class InferenceConfig(Section):
    """How a trained policy answers. Training always samples; who writes its lists says `rollout.answer`."""

    ranking: Ranking = Field(
        "generate",
        description="The list: as the policy writes it, the pool by each title's likelihood (`score`), written "
        "among pool titles only (`constrained`), the TRM's answer to the last wish (`retrieved`), or the pool by "
        "the TRM's and the policy's probabilities together (`reranked`).",
    )
    rollouts: Positive = Field(
        1, description="Trajectories a user: one is greedy; several are sampled, and their lists are merged."
    )


class EvaluationConfig(Section):
    """Held-out evaluation over the whole catalogue."""

    max_users: Positive | None = Field(None, description="Evaluate a random sample of this many users.")
    methods: tuple[str, ...] = Field((), description="Methods to evaluate; none: all that the run knows.")
    sampled: bool = Field(
        True, description="Whether policies are sampled besides, for the reward that training raises."
    )
    bootstrap: Positive = Field(2000, description="Resamples of the paired bootstrap.")
    permutations: Positive = Field(9999, description="Sign flips of the paired permutation test.")
    shown_trajectories: Positive = Field(10, description="Trajectories shown in the report.")


class RunConfig(Section):
    """A complete run."""

    seed: Seed = Field(
        0, description="Seed of everything that draws but simulated data (data.synthetic.seed)."
    )
    data: DataConfig = DataConfig()
    trm: TRMConfig = TRMConfig()
    rollout: RolloutConfig = RolloutConfig()
    engine: EngineConfig = EngineConfig()
    policy: PolicyConfig = PolicyConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    selection: SelectionConfig = SelectionConfig()
    rl: RLConfig = RLConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    rivals: RivalsConfig = RivalsConfig()
    serve: ServeConfig = ServeConfig()
