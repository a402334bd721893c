"""Question-only baselines for VQA: how far one gets without seeing the image.

A blind baseline is fitted on training questions alone. `best_blind_vqa` reports the best of them on
the test set, a choice in the baseline's favour: a model has to beat the most it could be.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vlp_jax.metrics.checks import same_length

Answer = str | Mapping[str, float]
_WORD = re.compile(r"\w+", re.UNICODE)


def words_of(text: str) -> tuple[str, ...]:
    """Returns the lower-case words of a text, without punctuation."""
    return tuple(_WORD.findall(text.lower()))


def _label(answer: Answer) -> str:
    """Returns the answer itself, or the best-scored (then alphabetically first) of a mapping."""
    if isinstance(answer, str):
        return answer
    if not answer:
        raise ValueError("an answer is an empty mapping, expected a text or text → score")
    return min(answer, key=lambda text: (-answer[text], text))


def _most_common(counts: Mapping[str, float]) -> str:
    return min(counts, key=lambda text: (-counts[text], text))


def _check_fit(questions: Sequence[str], answers: Sequence[Answer]) -> None:
    if not same_length(questions=questions, answers=answers):
        raise ValueError("a baseline cannot be fitted on zero questions")


class QuestionMajority:
    """Answers with the most frequent training answer of the same question.

    An unseen question is shortened word by word from its end until a training question begins that
    way; the last resort is the most frequent answer of all. Equal counts go to the alphabetically
    first answer.
    """

    name = "most frequent answer to the same question"

    def __init__(self, answer_of: Mapping[tuple[str, ...], str]):
        self._answer_of = answer_of

    @classmethod
    def fit(cls, questions: Sequence[str], answers: Sequence[Answer]) -> "QuestionMajority":
        """Counts the answers of every question and of every beginning of a question."""
        _check_fit(questions, answers)
        pairs = Counter((words_of(q), _label(a)) for q, a in zip(questions, answers))
        counts: dict[tuple[str, ...], Counter[str]] = {}
        for (words, answer), count in pairs.items():
            # A trailing marker keeps the whole question apart from longer ones that begin with it.
            for key in [words + ("\n",), *(words[:n] for n in range(len(words) + 1))]:
                counts.setdefault(key, Counter())[answer] += count
        return cls({key: _most_common(counter) for key, counter in counts.items()})

    def predict(self, questions: Sequence[str]) -> list[str]:
        """Returns one answer a question."""
        return [self._predict_one(words_of(question)) for question in questions]

    def _predict_one(self, words: tuple[str, ...]) -> str:
        if (whole := self._answer_of.get(words + ("\n",))) is not None:
            return whole
        return next(
            self._answer_of[words[:n]]
            for n in range(len(words), -1, -1)
            if words[:n] in self._answer_of
        )


class AnswerMajority:
    """Answers every question with the most frequent training answer."""

    name = "most frequent answer"

    def __init__(self, answer: str):
        self._answer = answer

    @classmethod
    def fit(cls, questions: Sequence[str], answers: Sequence[Answer]) -> "AnswerMajority":
        """Counts the answers."""
        _check_fit(questions, answers)
        return cls(_most_common(Counter(map(_label, answers))))

    def predict(self, questions: Sequence[str]) -> list[str]:
        """Returns one answer a question."""
        return [self._answer] * len(questions)


def _features(words: Sequence[str]) -> set[str]:
    """Returns the words and neighbouring word pairs of one text; the first word also by place."""
    pairs = {f"{a} {b}" for a, b in zip(words, words[1:])}
    return {*words, *pairs, f"^{words[0]}" if words else "^"}


class _BagOfWords:
    """Feature and answer tables shared by the linear baselines.

    Distinct questions are kept once, with their answer counts: data sets ask the same thing often.
    """

    def __init__(self, questions: Sequence[str], answers: Sequence[Answer]):
        _check_fit(questions, answers)
        words = [words_of(question) for question in questions]
        labels = [_label(answer) for answer in answers]
        self.answers = sorted(set(labels))
        distinct = sorted(set(words))
        self.columns = {f: i for i, f in enumerate(sorted(set().union(*map(_features, distinct))))}
        self.inputs = self.matrix(distinct)
        row_of = {text: row for row, text in enumerate(distinct)}
        column_of = {answer: column for column, answer in enumerate(self.answers)}
        self.counts = np.zeros((len(distinct), len(self.answers)))
        np.add.at(self.counts, ([row_of[w] for w in words], [column_of[a] for a in labels]), 1.0)

    def matrix(self, texts: Sequence[Sequence[str]]):
        """Returns the sparse indicator matrix [texts, features]; unknown features are left out."""
        from scipy import sparse

        known = [[self.columns[f] for f in _features(t) if f in self.columns] for t in texts]
        ends = np.cumsum([0] + [len(row) for row in known])
        indices = np.array([column for row in known for column in row], np.int32)
        shape = (len(texts), len(self.columns))
        return sparse.csr_matrix((np.ones(len(indices)), indices, ends), shape=shape)


class _LinearBaseline:
    """Predicts the answer with the highest `features @ weights + bias`."""

    def __init__(self, bag: _BagOfWords, weights: np.ndarray, bias: np.ndarray):
        self._bag, self._weights, self._bias = bag, weights, bias

    def predict(self, questions: Sequence[str]) -> list[str]:
        """Returns one answer a question."""
        inputs = self._bag.matrix([words_of(question) for question in questions])
        best = (inputs @ self._weights + self._bias).argmax(1)
        return [self._bag.answers[i] for i in best]


class NaiveBayes(_LinearBaseline):
    """Multinomial naive Bayes over the words and word pairs of the question."""

    name = "naive Bayes on the question's words"

    @classmethod
    def fit(
        cls, questions: Sequence[str], answers: Sequence[Answer], smoothing: float = 0.1
    ) -> "NaiveBayes":
        """Counts features per answer, each count raised by `smoothing`."""
        bag = _BagOfWords(questions, answers)
        counts = bag.inputs.T @ bag.counts + smoothing
        return cls(bag, np.log(counts / counts.sum(0)), np.log(bag.counts.sum(0)))


class LogisticRegression(_LinearBaseline):
    """Multinomial logistic regression over the words and word pairs of the question."""

    name = "logistic regression on the question's words"

    @classmethod
    def fit(
        cls,
        questions: Sequence[str],
        answers: Sequence[Answer],
        penalty: float = 1e-5,
        iterations: int = 60,
    ) -> "LogisticRegression":
        """Minimises the mean cross-entropy plus `penalty` / 2 · |weights|² with L-BFGS."""
        from scipy.optimize import minimize

        bag = _BagOfWords(questions, answers)
        shape = (bag.inputs.shape[1] + 1, len(bag.answers))
        total, per_row = bag.counts.sum(), bag.counts.sum(1, keepdims=True)

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            table = flat.reshape(shape)
            logits = bag.inputs @ table[:-1] + table[-1]
            logits -= logits.max(1, keepdims=True)
            log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            error = (per_row * np.exp(log_p) - bag.counts) / total
            slope = np.vstack([bag.inputs.T @ error + penalty * table[:-1], error.sum(0)])
            value = -(bag.counts * log_p).sum() / total + penalty / 2 * (table[:-1] ** 2).sum()
            return value, slope.ravel()

        start, options = np.zeros(shape).ravel(), {"maxiter": iterations}
        table = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
        return cls(bag, table[:-1], table[-1])


BLIND_VQA = (AnswerMajority, QuestionMajority, NaiveBayes, LogisticRegression)


def blind_vqa_scores(
    train_questions: Sequence[str],
    train_answers: Sequence[Answer],
    test_questions: Sequence[str],
    test_answers: Sequence[Answer],
) -> dict[str, np.ndarray]:
    """Returns what every question-only baseline, by its name, earns for each test question, [N].

    An answer is a text, or a mapping of accepted texts to scores in 0..1: the baselines learn its
    best-scored text, and a prediction earns the score it has there.
    """
    if not same_length(test_questions=test_questions, test_answers=test_answers):
        raise ValueError("there are zero test questions, expected at least one")
    scores = {}
    for kind in BLIND_VQA:
        predicted = kind.fit(train_questions, train_answers).predict(test_questions)
        earned = [
            float(guess == truth) if isinstance(truth, str) else truth.get(guess, 0.0)
            for guess, truth in zip(predicted, test_answers)
        ]
        scores[kind.name] = np.array(earned, np.float64)
    return scores


def best_blind_vqa(
    train_questions: Sequence[str],
    train_answers: Sequence[Answer],
    test_questions: Sequence[str],
    test_answers: Sequence[Answer],
) -> tuple[np.ndarray, str]:
    """Returns scores [N] and name of the question-only baseline that is best on the test set.

    Arguments as in `blind_vqa_scores`.
    """
    scores = blind_vqa_scores(train_questions, train_answers, test_questions, test_answers)
    name = max(scores, key=lambda name: scores[name].mean())
    return scores[name], name
