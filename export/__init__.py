"""Offline work on models: importing, training, calibrating, judging, packing. Imports signalserve, never the other way.

How a reference model comes about, in the order the data flows:

    labels.py              close -> DOWN / NEUTRAL / UP, 15 bars ahead
    split.py               bars -> train | embargo | calibration | embargo | test, in time order
    windows.py             feature rows -> windows, as views
    train.py               windows and labels -> weights
    temperature.py         logits and labels -> temperature, by log-likelihood
    scores.py              probabilities and labels -> how good, beside what no model at all reaches
    reference_stream.py    predictions in time order -> what monitoring compares later ones with
    commands/reference.py  the command `signalserve reference` that does all of it and writes bundles
"""
