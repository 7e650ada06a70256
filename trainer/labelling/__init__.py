"""The loop of labelling: which images to label next, predictions to correct, rounds of training.

Above the tracking room, whose models it loads; below the entry points.
"""
