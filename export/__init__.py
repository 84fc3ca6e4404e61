"""Offline work on models. Imports signalserve, never the other way.

The commands are in commands/, a module each; what they do is here, in the order the data flows:

    feature_files.py, series.py   bars or ready features -> a model's rows, with times and closes
    labels.py, split.py, unseen.py, windows.py
                                  what is asked, which bars may fit and which may judge, windows as views
    forward.py                    a bundle over all windows
    checkpoints/                  import: files as their owners saved them -> bundles, by a restricted reader
    fixing.py                     fix: scaler, clamp and temperature for a network that lacks them
    diagnosis*.py                 diagnose: weights, features, predictions -> faults in words
    recalibration*.py             calibrate: temperature.py, selective.py -> a new version
    gates.py, judging.py          judge: gates on three samples of unseen bars -> the verdict in the manifest
    contest.py, pooling.py, comparison.py, paired.py, decision.py
                                  compare: V6-fixed, V8 and their pools on the same windows -> what to serve
    onnx_files.py, onnx_check.py  onnx: one file with everything inside
    archives.py                   pack: what TorchServe serves
    train.py, reference_*.py      reference: the committed models

and what they all count on:

    scores.py, quality.py         how good, beside what no model at all reaches
    dependence.py, bootstrap.py   how many independent values, and intervals that hold
    reference_stream.py           predictions in time order -> what monitoring compares later ones with
    versions.py, options.py       new versions of a bundle; options, progress and reports of the commands
    report/                       one template: a report is data, shown as page, terminal and JSON
"""
