"""What a model is worth, in words: printed wherever its predictions are shown, so that nobody has to guess."""

from signalserve.bundle import Manifest


def skill_words(manifest: Manifest) -> str:
    """One line from the manifest's report on the bars that it was never trained or calibrated on."""
    name = f"{manifest.symbol} {manifest.generation} version {manifest.version}"
    try:
        report, baselines = manifest.report, manifest.report["baselines"]
        accuracy, majority = report["accuracy"], baselines["majority_accuracy"]
        nll, base = report["nll"], baselines["base_rate_nll"]
        words = (
            f"right in {accuracy:.1%} (always {baselines['majority_class']}: {majority:.1%}), "
            f"NLL {nll:.4f} (base rates: {base:.4f}), on {report['n']} windows from {manifest.spans.test.start} to "
            f"{manifest.spans.test.end}"
        )
    except (KeyError, TypeError):
        return f"{name}: not measured"
    return f"{name}: {words}"
