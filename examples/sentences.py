"""Sentences to a classifier that knows when it doesn't know. Needs farout[sentences]. Run: python examples/sentences.py

Another backbone, or the folder of one: python examples/sentences.py st:FOLDER
"""

import sys
from itertools import product

import numpy as np
from sklearn.pipeline import make_pipeline

import farout as fo

backbone = sys.argv[1] if len(sys.argv) > 1 else "st:all-MiniLM-L6-v2"

QUESTIONS = {
    "weather": ["will it rain in {} {}", "how warm does it get in {} {}", "do i need an umbrella in {} {}"],
    "train": ["when does the train to {} leave {}", "book me a seat to {} {}", "is the train to {} late {}"],
    "hotel": ["find a cheap room in {} {}", "which hotel in {} is free {}", "i want to sleep in {} {}"],
}
CITIES, DAYS = ["rome", "paris", "oslo", "lima", "cairo", "tokyo"], ["today", "tomorrow", "on sunday", "next week"]
WHERE_AND_WHEN = list(product(CITIES, DAYS))
questions = [(text.format(*w), y) for y, texts in QUESTIONS.items() for text, w in product(texts, WHERE_AND_WHEN)]
X, y = np.array([q for q, _ in questions]), np.array([label for _, label in questions])
test = np.random.default_rng(0).random(len(X)) < 0.3
unseen = [  # what nobody taught it
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

model = make_pipeline(fo.Features(backbone), fo.CautiousClassifier(random_state=0))
model.fit(X[~test], y[~test])

print(f"questions of the three kinds, classified rightly: {model.score(X[test], y[test]):.0%}")
table = fo.evaluate(model.score_samples(X[test]), {"unseen": model.score_samples(unseen)}, n_bootstrap=0)
print(f"AUROC, these against other questions: {table['unseen'].auroc:.3f}")
for question in ("do i need an umbrella in oslo on sunday", "how do i boil an egg"):
    print(f"how sure it is of {question!r}: {model.predict_proba([question]).max():.2f}")
