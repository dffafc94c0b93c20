"""
Sentences out of scope
======================

A classifier of questions that notices the questions nobody taught it, as an assistant or a help desk needs.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# Three kinds of questions are known: about the weather, trains and hotels. Other questions are for the test alone.

QUESTIONS = {
    "weather": [
        "will it rain in {} {}",
        "how warm does it get in {} {}",
        "do i need an umbrella in {} {}",
    ],
    "train": [
        "when does the train to {} leave {}",
        "book me a seat to {} {}",
        "is the train to {} late {}",
    ],
    "hotel": [
        "find a cheap room in {} {}",
        "which hotel in {} is free {}",
        "i want to sleep in {} {}",
    ],
}
CITIES = ["rome", "paris", "oslo", "lima", "cairo", "tokyo"]
DAYS = ["today", "tomorrow", "on sunday", "next week"]
WHERE_AND_WHEN = list(product(CITIES, DAYS))
questions = [
    (text.format(*w), y)
    for y, texts in QUESTIONS.items()
    for text, w in product(texts, WHERE_AND_WHEN)
]
X, y = np.array(questions).T
test = np.random.default_rng(0).random(len(X)) < 0.3
unseen = [
    "how do i boil an egg",
    "who painted the mona lisa",
    "my printer is out of ink",
    "translate good night into french",
    "how much money is on my account",
    "set a timer for ten minutes",
    "what is the square root of two",
    "tell me a joke about lawyers",
    "play the new album of my favourite band",
    "why do cats purr",
]

# %%
# A classifier needs numbers. Here they come from scikit-learn: weights of words, brought to 16 columns, and not scaled
# to one length, so that a question of few known words stays a short vector. The classifier stands behind them in a
# pipeline; where its outliers come from is left to :class:`farout.Recommended`, the default.

words = TfidfVectorizer(norm=None, token_pattern=r"\w+")
embedding = make_pipeline(words, TruncatedSVD(16, random_state=0))
model = make_pipeline(embedding, fo.CautiousClassifier(random_state=0)).fit(
    X[~test], y[~test]
)

scores = {
    "known kinds": model.score_samples(X[test]),
    "unseen": model.score_samples(unseen),
}
known_scores, unseen_scores = scores.values()
table = fo.evaluate(known_scores, {"unseen": unseen_scores}, n_bootstrap=0)
accuracy = model.score(X[test], y[test])
print(f"questions of the three kinds, classified rightly: {accuracy:.0%}")
print(f"AUROC, these against other questions: {table['unseen'].auroc:.3f}")

# %%
# On a map of the 16 columns the three kinds lie apart, and unseen questions elsewhere. The score is the largest
# probability; its threshold is set on questions held out of the training, of which 5 % fall below it.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
vectors = {
    "known kinds": model[0].transform(X[test]),
    "unseen": model[0].transform(unseen),
}
display = fo.plots.latent_map(vectors, y[test], ax=left)
left.set_title("A map of questions")
display = fo.plots.scores(
    scores, threshold=model[-1].offset_, label="largest probability", ax=right
)
right.set_ylim(top=5 * right.get_ylim()[1])  # room for the legend
right.set_title("How sure the classifier is of them")
plt.show()

for question in ("do i need an umbrella in oslo on sunday", "how do i boil an egg"):
    sure = model.predict_proba([question]).max()
    print(f"how sure it is of {question!r}: {sure:.2f}")

# %%
# **A sentence transformer instead.** Words alone don't know that "umbrella" and "rain" belong together. A pretrained
# network does: :class:`farout.Features` takes it in place of the embedding above. It needs
# ``pip install "farout[sentences]"`` and downloads the weights once; the rest of this page stays as it is.
#
# .. code-block:: python
#
#    embedding = fo.Features("st:all-MiniLM-L6-v2")
