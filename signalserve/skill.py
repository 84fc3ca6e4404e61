"""What a model is worth, in words: printed wherever its predictions are shown, so that nobody has to guess."""

from signalserve.bundle import Manifest


def skill_words(manifest: Manifest) -> str:
    """One line from the manifest's report on the bars that it was never trained or calibrated on."""
    name = f"{manifest.symbol} {manifest.generation} version {manifest.version}"
    try:
        report, span = manifest.report, manifest.spans.test
        if span is None:
            return f"{name}: not measured"
        commonest, share = max(report["base_rates"].items(), key=lambda item: item[1])
        words = (
            f"right in {report['accuracy']:.1%} (always {commonest} would be: {share:.1%}), "
            f"NLL {report['nll']:.3f} (base rates: {report['base_rate_nll']:.3f}), "
            f"on {report['n']:,} windows from {span.start[:10]} to {span.end[:10]}"
        )
    except (KeyError, TypeError):
        return f"{name}: not measured"
    return f"{name}: {words}"
