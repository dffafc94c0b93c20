"""
p-values and abstaining
=======================

A classifier that may say "I don't know": p-values tell how usual an input is, and where to stop answering.
"""

import matplotlib.pyplot as plt
import numpy as np

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The classifier learns the digits 0 to 6. At work it meets 7, 8 and 9 too, which it has no class for: whatever it
# answers there is wrong.

train, test = fo.load_data("digits:train@0-6"), fo.load_data("digits:test@0-6")
unseen = fo.load_data("digits:all@7-9")
source = fo.Exchange(random_state=0)
clf = fo.CautiousClassifier(
    source, max_steps=300, calibration_fraction=0.2, random_state=0
)
clf.fit(train.X, train.y)
print(f"accuracy on digits 0 to 6: {clf.score(test.X, test.y):.2f}")

# %%
# The p-value of an input is the share of digits held out of the training that the classifier was as unsure of, or more.
# For digits of the known classes each p-value is as frequent as any other, so a threshold of 5 % turns away about 5 %
# of them. Of unseen digits it turns away most.

p_known, p_unseen = clf.p_values(test.X), clf.p_values(unseen.X)
level = 0.05
print(f"turned away: {np.mean(p_known < level):.0%} of digits 0 to 6, ", end="")
print(f"{np.mean(p_unseen < level):.0%} of digits 7 to 9")

# %%
# Abstaining, then: answer only where the p-value is at least the threshold. Of a stream with as many unseen digits as
# known ones, half of all answers are wrong without abstaining; the higher the threshold, the more of those that are
# given are right, and the fewer known digits get one.

rng = np.random.default_rng(0)
some = rng.choice(len(unseen.X), len(test.X), replace=False)
right = np.concatenate([clf.predict(test.X) == test.y, np.zeros(len(some), bool)])
p = np.concatenate([p_known, p_unseen[some]])
levels = np.concatenate([[0.0], np.geomspace(0.005, 0.5, 40)])
precision = np.array([right[p >= at].mean() for at in levels])
answered = np.array([np.mean(p_known >= at) for at in levels])

figure, (first, second) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
sets = {"digits 0 to 6": p_known, "digits 7 to 9": p_unseen}
display = fo.plots.scores(sets, threshold=level, label="p-value", ax=first)
first.set_title("p-values of known and unseen digits")
second.plot(answered, precision, linestyle="solid")
chosen = np.flatnonzero(levels >= level)[0]
second.plot(
    answered[chosen], precision[chosen], "o", color="black", label=f"p = {level}"
)
second.set_xlabel("share of digits 0 to 6 that get an answer")
second.set_ylabel("share of answers that are right")
second.set_title("Answers given and answers right")
second.legend()
plt.show()

for at in (0.0, level):
    print(f"answers given where p >= {at}: {right[p >= at].mean():.0%} right")

# %%
# ``is_inlier`` makes the same decision with the threshold ``contamination``, 5 % by default.

same = (clf.is_inlier(test.X) == 1) == (p_known >= level)
print(f"the same by is_inlier: {same.mean():.0%} of the digits")
