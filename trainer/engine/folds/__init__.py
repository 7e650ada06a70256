"""Folds and seeds as one result: several trainings, one run above them, one model.

The trainings follow each other in the same processes: a launched command is N processes that know each other, and none
of them could start N others. What one leaves behind is small: threads are set anew for each, and its files are closed.
"""
