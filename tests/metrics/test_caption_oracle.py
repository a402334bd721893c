"""Caption scores and tokens against pycocoevalcap and its Java tokeniser, on captions made here."""

import random
import shutil

import numpy as np
import pytest

from vlp_jax.metrics.bleu import bleu
from vlp_jax.metrics.caption_tokens import tokenize_caption
from vlp_jax.metrics.cider import cider
from vlp_jax.metrics.rouge import rouge_l

pytestmark = pytest.mark.oracle

WORDS = """
a the man woman dog two sitting on bench with red bus street giraffe near eating pizza bird's dogs'
it's isn't don't can't there's I'm o'clock rock'n'roll y'all ma'am cannot gonna half-eaten t-shirt
20-year-old U.S. Mr. Mrs. Dr. St. etc. e.g. p.m. No. J. TV 1 10 1,000 3.5 1/2 50% $5 #1 10:30 5pm
1990s '90s 12/25/2010 5'6" 4x4 -5 555-1234 € ½ café naïve Ελλάδα 日本 😀 ☺ ❤️ … — – “quoted” "quoted"
'quoted' (close up) [brackets] {braces} <b> :) http://www.flickr.com/photos/1 www.a.com user@a.com
@user #hashtag photo.jpg and/or w/ AT&T black&white & &amp; + = * ~ - -- ... .. . , ; : ! ? !! '' ``
Coca-Cola McDonald's STOP Wi-Fi iPhone 747 42nd kids' 'em Let's 25°C 10ft x² ©
""".split()
MARKS = ".,;:!?-'\"()[]/&*+=#$%…—’“”"


def odd_caption(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(5, 13))
    for place in range(len(words)):
        if rng.random() < 0.1:
            words[place] += rng.choice(MARKS)
        elif rng.random() < 0.05:
            words[place] = rng.choice(MARKS) + words[place]
        elif rng.random() < 0.05:
            words[place] = words[place].upper()
    return " ".join(words) + rng.choice(["", ".", " ."])


@pytest.fixture(scope="module")
def captions():
    rng = random.Random(11)
    return [odd_caption(rng) for _ in range(1500)]


def as_published(captions):
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    table = {i: [{"caption": caption}] for i, caption in enumerate(captions)}
    return [texts[0] for texts in tokenizer.PTBTokenizer().tokenize(table).values()]


def test_tokens_of_odd_captions(captions):
    published = as_published(captions)
    different = [c for c, p in zip(captions, published, strict=True) if tokenize_caption(c) != p]
    assert len(different) <= 0.02 * len(captions), different[:5]


def test_scores_of_odd_captions(captions):
    scorer = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    consensus = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    texts = [tokenize_caption(caption) for caption in captions]
    candidates, references = texts[::5], [texts[i + 1 : i + 5] for i in range(0, len(texts), 5)]
    references = [
        [*refs, c] if i % 3 else refs for i, (c, refs) in enumerate(zip(candidates, references))
    ]
    made = {i: [text] for i, text in enumerate(candidates)}
    truth = dict(enumerate(references))
    pooled, each = scorer.compute_score(truth, made, verbose=0)
    assert bleu(candidates, references)[0] == pytest.approx(pooled, abs=1e-9)
    assert np.abs(bleu(candidates, references)[1] - np.array(each)).max() < 1e-9
    for ours, theirs in ((rouge_l, rouge), (cider, consensus)):
        mean, scores = theirs.compute_score(truth, made)
        found = ours(candidates, references)
        assert found[0] == pytest.approx(mean, abs=1e-9)
        assert np.abs(found[1] - np.array(scores)).max() < 1e-9
