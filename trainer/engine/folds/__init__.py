"""Folds and seeds as one result: several trainings, one run above them, one model."""
